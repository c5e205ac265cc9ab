// Looks now and then at what chains of other programs drop: nobody announces that, and a look may start programs.

import type { Finding } from "../../doctor/finding.ts";
import { describeError } from "../../errors.ts";
import type { Logger } from "../../telemetry/logger.ts";

const LOOK_EVERY_MS = 60_000;

export class DropWatch {
  readonly #look: () => Promise<readonly Finding[]>;
  readonly #logger: Logger;
  readonly #monotonicMs: () => number;
  #findings: readonly Finding[] = [];
  #dueMs = 0;
  #isLooking = false;

  /** `look` gives all that is dropped now. */
  constructor(
    look: () => Promise<readonly Finding[]>,
    logger: Logger,
    monotonicMs: () => number = () => performance.now(),
  ) {
    this.#look = look;
    this.#logger = logger;
    this.#monotonicMs = monotonicMs;
  }

  /** Of the last look; empty before the first. */
  get findings(): readonly Finding[] {
    return this.#findings;
  }

  /** What a look at everything found just now. */
  take(findings: readonly Finding[]): void {
    this.#findings = findings.filter(({ name }) => name === "forward-policy");
    this.#dueMs = this.#monotonicMs() + LOOK_EVERY_MS;
  }

  /** Called every other second; looks when it is time. */
  tick(): void {
    const nowMs = this.#monotonicMs();
    if (this.#isLooking || nowMs < this.#dueMs) return;
    this.#isLooking = true;
    this.#dueMs = nowMs + LOOK_EVERY_MS;
    const done = () => {
      this.#isLooking = false;
    };
    this.#look().then(
      (findings) => {
        this.#findings = findings;
        done();
      },
      (error: unknown) => {
        this.#logger.verbose(
          1,
          "preflight.drops-unknown",
          `cannot read the chains of other programs: ${describeError(error)}`,
        );
        done();
      },
    );
  }
}
