// One of several who follow the kernel's notifications over one socket: what its callbacks throw is its own trouble. It is logged
// once, and the follower reads everything again, as after lost notifications; the others hear on.
import { describeError } from "../errors.ts";
import type { Logger } from "../telemetry/logger.ts";

/** Those who follow now. One who leaves meanwhile, because of what another one heard, is left out. */
export function* presentOf<T>(followers: ReadonlySet<T>): Iterable<T> {
  for (const follower of [...followers]) if (followers.has(follower)) yield follower;
}

export interface GuardedOptions {
  /** Notifications were lost, or a callback threw: read everything again. What changes from now on is notified again. */
  readonly onOverflow: () => void;
  readonly logger: Logger;
}

/** `behind`: it has to read everything again, and could not be made to yet. `closed` is the last one. */
type FollowerState = "following" | "behind" | "closed";

/** `decoder`: the socket's, which concerns all who follow; one of them logs it. */
type Fault = "callback" | "decoder";

export class GuardedFollower {
  readonly #options: GuardedOptions;
  #state: FollowerState = "following";
  /** For its life: what fails once may fail for every notification. */
  readonly #logged = new Set<Fault>();

  constructor(options: GuardedOptions) {
    this.#options = options;
  }

  /** Runs what takes in the news, or has the follower read everything again where news before them got lost in it. Never throws. */
  deliver(task: () => void): void {
    if (this.#state === "behind" || this.try(task) === "failed") this.overflow();
  }

  /** Never throws. */
  overflow(): void {
    if (this.#state === "closed") return;
    this.#state = "following";
    this.try(this.#options.onOverflow);
  }

  /** What the task returns. After a failure the next delivery has the follower read everything again. Never throws. */
  try<T>(task: () => T): T | "failed" {
    if (this.#state === "closed") return "failed";
    try {
      return task();
    } catch (error) {
      this.#fallBehind();
      this.report(error, "callback");
      return "failed";
    }
  }

  /** No callback from now on. */
  close(): void {
    this.#state = "closed";
  }

  /** A task may have closed it. */
  #fallBehind(): void {
    if (this.#state === "following") this.#state = "behind";
  }

  /** Logs what kept a notification from being taken in: the first fault of each kind alone. */
  report(error: unknown, fault: Fault): void {
    if (this.#logged.has(fault)) return;
    this.#logged.add(fault);
    const stack = error instanceof Error ? { stack: error.stack ?? "" } : {};
    const message = "a notification of the kernel was not taken in; reading everything again";
    this.#options.logger.error("host.notice-failed", message, { error: describeError(error), ...stack });
  }
}
