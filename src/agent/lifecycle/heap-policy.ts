// Says what the garbage collector is to save: time while the agent starts, memory in the long rest afterwards.
import { setFlagsFromString } from "node:v8";

/**
 * From now on the heap is kept small: what the start left behind is collected, and it grows in small steps. V8 asks for
 * this flag whenever it decides, so it may be set late; set from the beginning, a start with 50,000 leases takes half
 * as long again.
 */
export function preferSmallHeap(): void {
  setFlagsFromString("--optimize-for-size");
}
