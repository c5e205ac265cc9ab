// The thread that runs the packet path, as its owner sees it. One can be started before it is known what it has to do:
// a thread takes as long to start as all else a restart needs before packets flow again.
import type { MessagePort } from "node:worker_threads";
import { Worker } from "node:worker_threads";
import { describeError } from "../errors.ts";
import { control, type PumpOptions } from "./pump.ts";

/** What the control plane passes in: the pump's options, with a port for tables in place of a function. */
export type PacketThreadData = Omit<PumpOptions, "takeTable"> & { readonly tables: MessagePort };

/** Started, and waiting for its data. */
let spare: Worker | undefined;

/** Starts a thread for the next `runPacketThread`. */
export function preparePacketThread(): void {
  spare ??= startThread();
  spare.unref(); // nobody may need it
}

/**
 * Runs the packet path until it is asked to stop through `control`; settles with the reason when it ended without being
 * told. A thread blocked in the kernel cannot be terminated: it is always told through the eventfd.
 */
export function runPacketThread(data: PacketThreadData): Promise<string | undefined> {
  const worker = spare ?? startThread();
  spare = undefined;
  worker.ref();
  let reason: string | undefined;
  worker.on("error", (error) => {
    reason = describeError(error);
  });
  const words = new Int32Array(data.control);
  const ended = new Promise<string | undefined>((resolve) =>
    worker.once("exit", () => {
      const wasAsked = Atomics.load(words, control.stop) === 1;
      resolve(wasAsked ? undefined : (reason ?? "the packet thread ended unexpectedly"));
    }),
  );
  worker.postMessage(data, [data.tables]);
  return ended;
}

function startThread(): Worker {
  // From source the worker is its own file; in the bundle it is an entry beside the others.
  const url = new URL(import.meta.url.endsWith(".ts") ? "./tunnel-worker.ts" : "./tunnel-worker.mjs", import.meta.url);
  const worker = new Worker(url, { name: "packets" });
  // One that fails while it waits is not to end the agent; it is not used then.
  worker.once("exit", () => {
    if (spare === worker) spare = undefined;
  });
  worker.on("error", () => undefined);
  return worker;
}
