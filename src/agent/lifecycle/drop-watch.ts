// Keeps what chains of other programs drop: asks now and then, which costs nothing as long as nothing can have changed.

import { dropNames } from "../../doctor/checks/packet-drops.ts";
import type { Finding } from "../../doctor/finding.ts";
import { describeError } from "../../errors.ts";
import type { Logger } from "../../telemetry/logger.ts";

/** Findings that a look gives. */
const watched: ReadonlySet<string> = new Set(dropNames);

export class DropWatch {
  readonly #look: () => Promise<readonly Finding[]>;
  readonly #logger: Logger;
  #findings: readonly Finding[] = [];
  #isLooking = false;

  /** `look` gives all that is dropped now. */
  constructor(look: () => Promise<readonly Finding[]>, logger: Logger) {
    this.#look = look;
    this.#logger = logger;
  }

  /** Of the last look; empty before the first. */
  get findings(): readonly Finding[] {
    return this.#findings;
  }

  /** What a look at everything found just now. */
  take(findings: readonly Finding[]): void {
    this.#findings = findings.filter(({ name }) => watched.has(name));
  }

  /** Called every other second; one look at a time. */
  tick(): void {
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#look()
      .then(
        (findings) => {
          this.#findings = findings;
        },
        (error: unknown) => {
          const reason = describeError(error);
          this.#logger.verbose(1, "preflight.drops-unknown", `cannot judge the chains of other programs: ${reason}`);
        },
      )
      .finally(() => {
        this.#isLooking = false;
      });
  }
}
