// By which addresses others know a host that has called. Pure.
import type { ClusterFacts } from "./member-file.ts";

/** One who calls over loopback is on the store's own host, which the others know by its addresses. */
export function addressesOf(callAddresses: readonly string[], { addresses }: ClusterFacts): readonly string[] {
  return callAddresses.flatMap((address) => (isLoopback(address) ? addresses : [address]));
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}
