// Revisions of no store in particular, for tests of what must not look into them.
import type { Revision } from "../../src/lease/lease.ts";

class NumberedRevision implements Revision {
  readonly order: number;

  constructor(order: number) {
    this.order = order;
  }

  isAfter(other: Revision): boolean {
    return other instanceof NumberedRevision && this.order > other.order;
  }

  toString(): string {
    return `r${this.order}`;
  }
}

/** The next one after `earlier`, which is one of these. */
export function revisionAfter(earlier: Revision): Revision {
  return revision(earlier instanceof NumberedRevision ? earlier.order + 1 : 0);
}

/** Those with a higher number were written later. */
export function revision(order: number): Revision {
  return new NumberedRevision(order);
}
