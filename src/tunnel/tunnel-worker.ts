// The thread of the packet path: started before it is known what it has to do, it waits for the one message that says
// so, then pumps until told to stop.
import { parentPort, receiveMessageOnPort } from "node:worker_threads";
import type { PacketThreadData } from "./packet-thread.ts";
import { runPump } from "./pump.ts";

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
  try {
    runPump({ ...options, takeTable });
  } finally {
    tables.close();
  }
}

// Nothing is awaited after it, so the thread ends when the pump does.
parentPort?.once("message", pump);
