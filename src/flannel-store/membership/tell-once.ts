// Trouble of something that is tried again and again: told when it changes, and once a day.
import { describeError } from "../../errors.ts";

const TELL_AGAIN_MS = 86_400_000;

export class TellOnce {
  readonly #onFailure: (error: unknown) => void;
  #told: { readonly text: string; readonly atMs: number } | undefined;

  constructor(onFailure: (error: unknown) => void) {
    this.#onFailure = onFailure;
  }

  /** Of each attempt: what went wrong, or undefined. */
  tell(trouble: unknown): void {
    const [told, nowMs] = [this.#told, performance.now()];
    this.#told = undefined;
    if (trouble === undefined) return;
    const text = describeError(trouble);
    const isNews = told?.text !== text || nowMs - told.atMs >= TELL_AGAIN_MS;
    this.#told = isNews ? { text, atMs: nowMs } : told;
    if (isNews) this.#onFailure(trouble);
  }
}
