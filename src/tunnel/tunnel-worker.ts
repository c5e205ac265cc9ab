// The thread of the packet path: takes what the control plane hands it and pumps until told to stop.
import { type MessagePort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { type PumpOptions, runPump } from "./pump.ts";

/** What the control plane passes in: the pump's options, with a port for tables in place of a function. */
export type TunnelWorkerData = Omit<PumpOptions, "takeTable"> & { readonly tables: MessagePort };

const { tables, ...options } = workerData as TunnelWorkerData;

/** The last of those that wait: each is complete. */
function takeTable(): SharedArrayBuffer | undefined {
  let latest: SharedArrayBuffer | undefined;
  for (;;) {
    const received = receiveMessageOnPort(tables) as { readonly message: SharedArrayBuffer } | undefined;
    if (received === undefined) return latest;
    latest = received.message;
  }
}

try {
  runPump({ ...options, takeTable });
} finally {
  tables.close();
}
