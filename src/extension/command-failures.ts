// Which commands failed, how often, and when each is tried again.
import { BackOff } from "../async/back-off.ts";

export type CommandScope = "own" | "peer" | "leftover";

export interface CommandFailure {
  /** The command, and for whom. */
  readonly object: string;
  readonly error: string;
  readonly attempts: number;
  readonly scope: CommandScope;
}

interface Entry {
  readonly failure: CommandFailure;
  readonly backOff: BackOff;
  readonly againAtMs: number;
}

const BACK_OFF = { firstMs: 1_000, maxMs: 300_000 } as const;

export class CommandFailures {
  readonly #entries = new Map<string, Entry>();

  /** The number of attempts so far, with this one. */
  add(task: string, object: string, error: string, scope: CommandScope): number {
    const known = this.#entries.get(task);
    const attempts = (known?.failure.attempts ?? 0) + 1;
    const backOff = known?.backOff ?? new BackOff(BACK_OFF);
    const againAtMs = performance.now() + backOff.nextMs();
    this.#entries.set(task, { failure: { object, error, attempts, scope }, backOff, againAtMs });
    return attempts;
  }

  /** Whether there was one. */
  clear(task: string): boolean {
    return this.#entries.delete(task);
  }

  /** Those of tasks that nobody wants any longer. */
  keep(isWanted: (task: string) => boolean): void {
    for (const task of this.#entries.keys()) if (!isWanted(task)) this.#entries.delete(task);
  }

  of(task: string): CommandFailure | undefined {
    return this.#entries.get(task)?.failure;
  }

  isDue(task: string): boolean {
    const { againAtMs = 0 } = this.#entries.get(task) ?? {};
    return performance.now() >= againAtMs;
  }

  /** Until the first of these that failed is due; undefined when none of them did. */
  nextInMs(tasks: readonly string[]): number | undefined {
    const times = tasks.map((task) => this.#entries.get(task)?.againAtMs).filter((timeMs) => timeMs !== undefined);
    if (times.length === 0) return undefined;
    const firstMs = times.reduce((first, timeMs) => Math.min(first, timeMs));
    return Math.max(0, firstMs - performance.now());
  }

  list(): CommandFailure[] {
    return [...this.#entries.values()].map(({ failure }) => failure);
  }
}
