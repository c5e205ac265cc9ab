// Looks at what chains of other programs drop: soon after they changed rules, and now and then, since legacy iptables announces
// nothing. A look may start programs: so it is never repeated before ten times as long has passed as it took.

import type { Finding } from "../../doctor/finding.ts";
import { describeError } from "../../errors.ts";
import type { Logger } from "../../telemetry/logger.ts";

const LOOK_EVERY_MS = 60_000;
const SOON_MS = 1_000;
const PAUSE_FACTOR = 10;

/** Findings that a look gives. */
const watched: ReadonlySet<string> = new Set(["forward-policy", "packet-drop", "container-drop"]);

export class DropWatch {
  readonly #look: () => Promise<readonly Finding[]>;
  readonly #logger: Logger;
  readonly #monotonicMs: () => number;
  #findings: readonly Finding[] = [];
  #dueMs = 0;
  #earliestMs = 0;
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
    this.#findings = findings.filter(({ name }) => watched.has(name));
    this.#dueMs = this.#monotonicMs() + LOOK_EVERY_MS;
  }

  /** Somebody changed rules. */
  lookSoon(): void {
    this.#dueMs = Math.min(this.#dueMs, Math.max(this.#earliestMs, this.#monotonicMs() + SOON_MS));
  }

  /** Called every other second; looks when it is time. */
  tick(): void {
    const nowMs = this.#monotonicMs();
    if (this.#isLooking || nowMs < this.#dueMs) return;
    this.#isLooking = true;
    this.#dueMs = nowMs + LOOK_EVERY_MS;
    const done = () => {
      this.#isLooking = false;
      const endMs = this.#monotonicMs();
      this.#earliestMs = endMs + (endMs - nowMs) * PAUSE_FACTOR;
      this.#dueMs = Math.max(this.#dueMs, this.#earliestMs);
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
