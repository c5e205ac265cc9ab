// Says that files of ours that others removed or changed were restored: a line a minute for each.
import type { Logger } from "../../telemetry/logger.ts";

const LINE_EVERY_MS = 60_000;

export class RestoredFiles {
  readonly #logger: Logger;
  readonly #loggedAtMs = new Map<string, number>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** `nowMs` of a monotonic clock. */
  log(file: string, nowMs = performance.now()): void {
    const loggedAtMs = this.#loggedAtMs.get(file);
    if (loggedAtMs !== undefined && nowMs - loggedAtMs < LINE_EVERY_MS) return;
    this.#loggedAtMs.set(file, nowMs);
    this.#logger.warn("files.restored", `another program removed or changed ${file}: restoring it`, { file });
  }
}
