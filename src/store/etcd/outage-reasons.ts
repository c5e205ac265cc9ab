// Which reasons of an outage have been reported: each is reported once, however often it comes back.

/** Endpoints and what they answer; beyond that an outage has told enough. */
const MAX_REASONS = 20;

export class OutageReasons {
  readonly #told = new Set<string>();

  /** The outage is over. */
  clear(): void {
    this.#told.clear();
  }

  /** Whether it has not been reported before. Durations and the like make no other reason. */
  isNew(reason: string): boolean {
    const kind = reason.replaceAll(/timed out after [\d.]+ s/g, "timed out");
    if (this.#told.has(kind) || this.#told.size >= MAX_REASONS) return false;
    this.#told.add(kind);
    return true;
  }
}
