// The contract of a set of measurements, and the figures it gives.

export type Unit = "ms" | "s" | "MB" | "%" | "/s" | "processes" | "×" | "Gbit/s" | "kpkt/s" | "CPU s/Gbit" | "µs";

/** One line of the table: samples, and the one number that is judged. */
export interface Figure {
  readonly name: string;
  readonly unit: Unit;
  /** Which number `value` is: `median`, `p99`, `longest`. */
  readonly statistic: string;
  readonly value: number;
  /** In the order in which they were taken. */
  readonly samples: readonly number[];
  /** `value` should be at most this; missing for comparison figures. */
  readonly atMost?: number;
  /** `value` should be at least this. */
  readonly atLeast?: number;
}

export interface BenchContext {
  readonly rounds: number;
  /** Asked for on the command line; only the sets `start` and `convergence` know sizes. */
  readonly sizes: readonly number[] | undefined;
  /** A line about what is going on, for whoever waits. */
  readonly progress: (text: string) => void;
}

/** Runs in a box. Throws when a result is wrong: a wrong result has no speed. */
export interface BenchSet {
  readonly name: string;
  readonly title: string;
  /** What needs the machine's network, which a box has not: before the box. */
  prepare?(say: (text: string) => void): Promise<void>;
  run(context: BenchContext): Promise<{ readonly figures: readonly Figure[]; readonly notes: readonly string[] }>;
}

export interface SetResult {
  readonly set: string;
  readonly title: string;
  /** Load averages over 1, 5 and 15 minutes. */
  readonly loadBefore: readonly number[];
  readonly loadAfter: readonly number[];
  readonly figures: readonly Figure[];
  readonly notes: readonly string[];
}

type Labels = Pick<Figure, "name" | "unit" | "atMost" | "atLeast">;

export function medianFigure(labels: Labels, samples: readonly number[]): Figure {
  return { ...labels, statistic: "median", value: percentile(samples, 50), samples };
}

export function percentileFigure(labels: Labels, percent: number, samples: readonly number[]): Figure {
  return { ...labels, statistic: `p${percent}`, value: percentile(samples, percent), samples };
}

export function longestFigure(labels: Labels, samples: readonly number[]): Figure {
  return { ...labels, statistic: "longest", value: percentile(samples, 100), samples };
}

/** Nearest rank; the mean of both middle ones for a median of an even number. NaN without samples. */
export function percentile(samples: readonly number[], percent: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (rank: number) => sorted[Math.min(Math.max(rank, 1), sorted.length) - 1] ?? Number.NaN;
  if (percent === 50 && sorted.length % 2 === 0) return (at(sorted.length / 2) + at(sorted.length / 2 + 1)) / 2;
  return at(Math.ceil((percent / 100) * sorted.length));
}
