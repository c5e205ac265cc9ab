// The thread of the packet path: started before it is known what it has to do, it waits for the one message that says
// so, then pumps until told to stop.
import { setPriority } from "node:os";
import { parentPort, receiveMessageOnPort } from "node:worker_threads";
import type { PacketThreadData } from "./packet-thread.ts";
import { runPump } from "./pump.ts";

/** What the kernel does for its own tunnels comes before every program; see docs/benchmarks.md for what it brings. */
const NICE = -10;

/** Linux takes 0 for the calling thread, not for its process: setpriority(2). */
function comeFirst(): void {
  try {
    setPriority(0, NICE);
  } catch {
    // Neither CAP_SYS_NICE nor RLIMIT_NICE: packets flow as before, in turn with everybody else.
  }
}

function pump({ tables, ...options }: PacketThreadData): void {
  /** The last of those that wait: each is complete. */
  const takeTable = () => {
    let latest: SharedArrayBuffer | undefined;
    for (;;) {
      const received = receiveMessageOnPort(tables) as { readonly message: SharedArrayBuffer } | undefined;
      if (received === undefined) return latest;
      latest = received.message;
    }
  };
  comeFirst();
  try {
    runPump({ ...options, takeTable });
  } finally {
    tables.close();
  }
}

// Nothing is awaited after it, so the thread ends when the pump does.
parentPort?.once("message", pump);
