// Long work in slices: gives other work of the event loop its turn, and counts the processor time that the slices took.
import { setImmediate as nextTurn } from "node:timers/promises";

/** A slice goes on for as long as one step of the work takes after that. */
const SLICE_MS = 3;
const settled = Promise.resolve();

export class WorkSlices {
  #sliceStartMs = performance.now();
  #startCpuMs = cpuMs();
  #activeMs = 0;

  /** Between two steps; to be awaited. */
  readonly pause = (): Promise<void> => {
    return performance.now() - this.#sliceStartMs < SLICE_MS ? settled : this.#rest();
  };

  /** Of all slices so far. */
  activeMs(): number {
    return this.#activeMs + cpuMs() - this.#startCpuMs;
  }

  async #rest(): Promise<void> {
    this.#activeMs += cpuMs() - this.#startCpuMs;
    await nextTurn();
    this.#sliceStartMs = performance.now();
    this.#startCpuMs = cpuMs();
  }
}

/** Of this thread; before Node 23.9, which does not tell it, time as it passes. */
function cpuMs(): number {
  const usage = process.threadCpuUsage?.();
  return usage === undefined ? performance.now() : (usage.user + usage.system) / 1_000;
}
