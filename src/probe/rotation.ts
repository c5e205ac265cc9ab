// Whose turn it is: all in a ring, in an order of chance that changes a little with each round. Pure.

/** In small rings a change of the order would change the time between two turns by too much. */
const LEAST_TO_SWAP = 160;

export class Rotation<T> {
  readonly #random: () => number;
  #ring: T[] = [];
  #at = 0;
  #credit = 0;
  /** Had their turn and could not use it. */
  #held: T[] = [];

  /** `random`: from 0 to 1. */
  constructor(random: () => number) {
    this.#random = random;
  }

  get size(): number {
    return this.#ring.length;
  }

  /** Those of `before` that stay keep their places; the others go in anywhere. */
  replace(before: ReadonlySet<T>, after: ReadonlySet<T>): void {
    const passed = this.#ring.slice(0, this.#at).filter((one) => !before.has(one) || after.has(one)).length;
    this.#ring = this.#ring.filter((one) => !before.has(one) || after.has(one));
    this.#held = this.#held.filter((one) => !before.has(one) || after.has(one));
    this.#at = Math.min(passed, this.#ring.length);
    for (const one of after) if (!before.has(one)) this.#ring.push(one);
    const added = [...after].filter((one) => !before.has(one)).length;
    // Fisher and Yates, for the new ones alone.
    for (let index = this.#ring.length - added; index < this.#ring.length; index++) {
      this.#swap(index, Math.floor(this.#random() * (index + 1)));
    }
  }

  /**
   * Adds `share` turns to those that are left of before, at most `most`, and gives them: to whom is due. Who is to be skipped
   * loses the turn; for who has to wait it stays.
   */
  take(share: number, most: number, place: (one: T) => "due" | "skip" | "wait"): T[] {
    this.#credit = Math.min(most, this.#credit + share);
    const given: T[] = [];
    while (this.#credit >= 1 - 1e-9 && this.#ring.length > 0) {
      const held = this.#held[0];
      const next = held ?? this.#ring[this.#at % this.#ring.length];
      if (next === undefined) break;
      const where = place(next);
      if (where === "wait") break;
      if (held === undefined) this.#advance();
      else this.#held.shift();
      this.#credit--;
      if (where === "due" && !given.includes(next)) given.push(next);
    }
    return given;
  }

  /** They go first the next time. */
  giveBack(unused: readonly T[]): void {
    this.#held.unshift(...unused);
    this.#credit += unused.length;
  }

  #advance(): void {
    const size = this.#ring.length;
    this.#at = (this.#at + 1) % size;
    if (size >= LEAST_TO_SWAP && this.#random() < 0.5)
      this.#swap((this.#at + size - 2) % size, (this.#at + size - 1) % size);
  }

  #swap(a: number, b: number): void {
    const [first, second] = [this.#ring[a], this.#ring[b]];
    if (first === undefined || second === undefined) return;
    this.#ring[a] = second;
    this.#ring[b] = first;
  }
}
