// One of several who follow the kernel's notifications over one socket: what its callbacks throw is its own trouble. It is logged
// once, and the follower reads everything again, as after lost notifications; the others hear on.
import { describeError } from "../errors.ts";
import type { Logger } from "../telemetry/logger.ts";

export interface GuardedOptions {
  /** Notifications were lost, or a callback threw: read everything again. What changes from now on is notified again. */
  readonly onOverflow: () => void;
  readonly logger: Logger;
}

export class GuardedFollower {
  readonly #options: GuardedOptions;
  /** It has to read everything again, and could not be made to yet. */
  #isBehind = false;
  #wasLogged = false;
  #isClosed = false;

  constructor(options: GuardedOptions) {
    this.#options = options;
  }

  /** Runs what takes in the news, or has the follower read everything again where news before them got lost in it. Never throws. */
  deliver(task: () => void): void {
    if (this.#isBehind || this.try(task) === "failed") this.overflow();
  }

  /** Never throws. */
  overflow(): void {
    if (this.#isClosed) return;
    this.#isBehind = false;
    this.try(this.#options.onOverflow);
  }

  /** What the task returns. After a failure the next delivery has the follower read everything again. Never throws. */
  try<T>(task: () => T): T | "failed" {
    if (this.#isClosed) return "failed";
    try {
      return task();
    } catch (error) {
      this.#isBehind = true;
      this.#log(error);
      return "failed";
    }
  }

  /** No callback from now on. */
  close(): void {
    this.#isClosed = true;
  }

  #log(error: unknown): void {
    if (this.#wasLogged) return;
    this.#wasLogged = true;
    const stack = error instanceof Error ? { stack: error.stack ?? "" } : {};
    const message = "a notification of the kernel was not taken in; reading everything again";
    this.#options.logger.error("host.notice-failed", message, { error: describeError(error), ...stack });
  }
}
