// A set of disjoint prefixes with their holders. Pure.
import { makePrefix, type Prefix, prefixAddress, prefixLength } from "../ip/address.ts";
import { networkOf } from "../ip/prefix.ts";

/** Finds an overlap by look-ups alone, one per prefix length in use (nearly always one). */
export class DisjointPrefixes<Holder> {
  readonly #lengths: ReadonlySet<number>;
  /** For each length in use, the shorter ones. */
  readonly #shorterLengths = new Map<number, readonly number[]>();
  readonly #holders = new Map<Prefix, Holder>();
  /** Shorter prefixes that contain claimed ones: how many, and the holder of the first. */
  readonly #around = new Map<Prefix, { readonly holder: Holder; claims: number }>();

  /** `lengths`: of all prefixes that will be claimed. */
  constructor(lengths: ReadonlySet<number>) {
    this.#lengths = lengths;
  }

  /** Whether prefixes of this length may be claimed. */
  hasLength(lengthBits: number): boolean {
    return this.#lengths.has(lengthBits);
  }

  /** Whose prefix overlaps this one, which may have any length. */
  holderOf(prefix: Prefix): Holder | undefined {
    const holder = this.#holders.get(prefix) ?? this.#around.get(prefix)?.holder;
    if (holder !== undefined) return holder;
    for (const shorter of this.#shorterThan(prefix)) {
      const outer = this.#holders.get(shorter);
      if (outer !== undefined) return outer;
    }
    return undefined;
  }

  /** Claims the prefix, or returns whose claim it overlaps. */
  claim(prefix: Prefix, holder: Holder): Holder | undefined {
    const other = this.holderOf(prefix);
    if (other !== undefined) return other;
    this.#holders.set(prefix, holder);
    for (const shorter of this.#shorterThan(prefix)) {
      const around = this.#around.get(shorter);
      if (around === undefined) this.#around.set(shorter, { holder, claims: 1 });
      else around.claims++;
    }
    return undefined;
  }

  /** Gives up a claimed prefix. Afterwards `holderOf` may name its holder for a prefix that contains other claimed ones. */
  release(prefix: Prefix): void {
    if (!this.#holders.delete(prefix)) return;
    for (const shorter of this.#shorterThan(prefix)) {
      const around = this.#around.get(shorter);
      if (around !== undefined && --around.claims === 0) this.#around.delete(shorter);
    }
  }

  #shorterThan(prefix: Prefix): readonly Prefix[] {
    const length = prefixLength(prefix);
    let shorter = this.#shorterLengths.get(length);
    if (shorter === undefined) {
      shorter = [...this.#lengths].filter((other) => other < length);
      this.#shorterLengths.set(length, shorter);
    }
    return shorter.map((bits) => networkOf(makePrefix(prefixAddress(prefix), bits)));
  }
}
