// Collects garbage for those who make large buffers. V8 lets 64 MB and more of them lie, as its heap hardly grows by them:
// a process that promises how much memory it needs counts what it makes here.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Smaller ones are left to V8. */
const LARGE_BYTES = 16 * 1024;
/** A collection takes some ten milliseconds: a small part of what it takes to make and send so much. */
const COLLECT_BYTES = 24 * 1024 * 1024;

let madeBytes = 0;
let gc: (() => void) | undefined;

/** `bytes` were allocated outside of the heap. */
export function noteLargeBuffer(bytes: number): void {
  if (bytes < LARGE_BYTES) return;
  madeBytes += bytes;
  if (madeBytes < COLLECT_BYTES) return;
  collectGarbage();
}

/** When a lot has just become garbage. */
export function collectGarbage(): void {
  madeBytes = 0;
  gc ??= exposeGc();
  gc();
}

/**
 * V8's collector. Not by a flag on the command line: compiled code that was cached without it would not be used, which
 * costs 80 ms of each start.
 */
export function exposeGc(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}
