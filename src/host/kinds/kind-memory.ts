// What kinds remember of one host beside their objects (the ids of next hops, say), each in a class of its own.

export class KindMemory {
  readonly #parts = new Map<unknown, unknown>();

  /** Always the same one, made at the first call. */
  of<T extends object>(part: new () => T): T {
    const known = this.#parts.get(part);
    if (known instanceof part) return known;
    const made = new part();
    this.#parts.set(part, made);
    return made;
  }
}
