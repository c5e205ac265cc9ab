// Loaded into an agent before its program (`node --import`): takes the CPU time of its main thread between ticks of a
// 1 ms timer. Timers run once in every turn of the event loop, so between two ticks lies at most one long turn, and no
// single task takes longer than the longest such span. SIGUSR2 ends the phase "start"; the result is written at exit.
import { writeFileSync } from "node:fs";

export interface TurnReport {
  /** CPU time of process start, module loading and the program up to its first wait, all in one. */
  readonly loadingMs: number;
  /** Longest span from then to SIGUSR2. */
  readonly startMs: number;
  /** Longest span after SIGUSR2. */
  readonly restMs: number;
}

type Phase = "loading" | "start" | "rest";

const file = process.env["TURN_PROBE_FILE"];
if (file === undefined) throw new Error("the probe needs TURN_PROBE_FILE");

const longestMicros: Record<Phase, number> = { loading: 0, start: 0, rest: 0 };
let phase: Phase = "loading";
let lastMicros = 0;

function tick(): void {
  const { user, system } = process.threadCpuUsage();
  const nowMicros = user + system;
  if (phase === "loading") {
    longestMicros.loading = nowMicros;
    // The first thing the program does is to listen for the signal that ends it.
    if (process.listenerCount("SIGTERM") > 0) phase = "start";
  } else {
    longestMicros[phase] = Math.max(longestMicros[phase], nowMicros - lastMicros);
  }
  lastMicros = nowMicros;
}

setInterval(tick, 1).unref();
process.on("SIGUSR2", () => {
  phase = "rest";
});
process.on("exit", () => {
  tick();
  const { loading, start, rest } = longestMicros;
  const report: TurnReport = { loadingMs: loading / 1_000, startMs: start / 1_000, restMs: rest / 1_000 };
  writeFileSync(file, JSON.stringify(report));
});
