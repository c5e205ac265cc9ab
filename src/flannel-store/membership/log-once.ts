// The failure of something that is retried again and again: logged when it changes, and once a day.
import { describeError } from "../../errors.ts";

const REPEAT_MS = 86_400_000;

export class LogOnce {
  readonly #onFailure: (error: unknown) => void;
  #logged: { readonly text: string; readonly atMs: number } | undefined;

  constructor(onFailure: (error: unknown) => void) {
    this.#onFailure = onFailure;
  }

  /** Of each attempt: what went wrong, or undefined. */
  follow(failure: unknown): void {
    const [logged, nowMs] = [this.#logged, performance.now()];
    this.#logged = undefined;
    if (failure === undefined) return;
    const text = describeError(failure);
    const isNews = logged?.text !== text || nowMs - logged.atMs >= REPEAT_MS;
    this.#logged = isNews ? { text, atMs: nowMs } : logged;
    if (isNews) this.#onFailure(failure);
  }
}
