// A source that the dashboard reads again and again while a page is open, each with an interval of its own. What cannot be read
// stays as it was, and the page says since when and why.
import { setTimeout as sleep } from "node:timers/promises";
import { describeError } from "../../../errors.ts";
import type { Board } from "./board.ts";

export type SourceName = "agent" | "plan" | "rules" | "store" | "doctor" | "journal";

export interface LookLoop {
  readonly source: SourceName;
  /** Returns how long to wait for the next look, in ms. */
  readonly look: (signal: AbortSignal) => Promise<number>;
}

const AFTER_FAILURE_MS = 3_000;

/** Until `signal` aborts. Never rejects. */
export async function runLoop({ source, look }: LookLoop, board: Board, signal: AbortSignal): Promise<void> {
  let readAt: string | undefined;
  const read = () => (readAt === undefined ? {} : { readAt });
  while (!signal.aborted) {
    let waitMs = AFTER_FAILURE_MS;
    try {
      waitMs = await look(signal);
      readAt = new Date().toISOString();
      board.set("source", "", read(), source);
    } catch (error) {
      if (signal.aborted) return;
      board.set("source", "", { ...read(), problem: describeError(error) }, source);
    }
    await sleep(waitMs, undefined, { signal }).catch(() => undefined);
  }
}
