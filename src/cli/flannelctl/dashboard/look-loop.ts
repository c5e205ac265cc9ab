// A source that the dashboard reads again and again while a page is open, each with an interval of its own. What cannot be read
// stays as it was, and the page says since when and why.
import { setTimeout as sleep } from "node:timers/promises";
import { describeError } from "../../../errors.ts";
import type { Board } from "./board.ts";

export type SourceName = "agent" | "plan" | "rules" | "store" | "doctor" | "journal" | "hosts";

export interface LookLoop {
  readonly source: SourceName;
  /**
   * Returns how long to wait for the next look, in ms. Calls `markRead` once the source was read: a look may find that it is not
   * due yet, and then what is shown of the source stays as it was.
   */
  readonly look: (signal: AbortSignal, markRead: () => void) => Promise<number>;
}

const AFTER_FAILURE_MS = 3_000;

/** When each source was read last, over all runs of its loop: the page says so while it cannot be read. */
export class SourceStates {
  readonly #board: Board;
  readonly #readAt = new Map<SourceName, string>();

  constructor(board: Board) {
    this.#board = board;
  }

  markRead(source: SourceName): void {
    const readAt = new Date().toISOString();
    this.#readAt.set(source, readAt);
    this.#board.set("source", "", { readAt }, source);
  }

  markFailed(source: SourceName, problem: string): void {
    const readAt = this.#readAt.get(source);
    this.#board.set("source", "", { ...(readAt !== undefined && { readAt }), problem }, source);
  }
}

/** Until `signal` aborts. Never rejects. */
export async function runLoop({ source, look }: LookLoop, states: SourceStates, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    let waitMs = AFTER_FAILURE_MS;
    try {
      waitMs = await look(signal, () => states.markRead(source));
    } catch (error) {
      if (signal.aborted) return;
      states.markFailed(source, describeError(error));
    }
    await sleep(waitMs, undefined, { signal }).catch(() => undefined);
  }
}
