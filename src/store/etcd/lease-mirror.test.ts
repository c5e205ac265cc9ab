import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { type LeaseMark, LeaseMirror } from "./lease-mirror.ts";

/** One write: a value, or undefined for a deletion. */
interface Write {
  readonly key: string;
  readonly value: number | undefined;
  readonly isReservation: boolean;
}

const write = fc.record({
  key: fc.constantFrom("10.5.1.0-24", "10.5.2.0-24", "10.5.3.0-24", "10.5.4.0-24"),
  value: fc.option(fc.nat(3), { nil: undefined }),
  isReservation: fc.boolean(),
});

/** A store as etcd counts: what its keys look like after each write. `origin` makes ids of store leases unlike others'. */
class Store {
  readonly keys = new Map<string, LeaseMark>();
  readonly events: { readonly key: string; readonly mark: LeaseMark | undefined; readonly revision: bigint }[] = [];
  revision = 1n;

  run(writes: readonly Write[], origin: bigint): this {
    for (const { key, value, isReservation } of writes) {
      const before = this.keys.get(key);
      // Deleting nothing is no write.
      if (value === undefined && before === undefined) continue;
      this.revision++;
      const mark = value === undefined ? undefined : this.#mark(key, value, before, isReservation ? 0n : origin);
      if (mark === undefined) this.keys.delete(key);
      else this.keys.set(key, mark);
      this.events.push({ key, mark, revision: this.revision });
    }
    return this;
  }

  #mark(key: string, value: number, before: LeaseMark | undefined, origin: bigint): LeaseMark {
    const createRevision = before?.createRevision ?? this.revision;
    const version = (before?.version ?? 0n) + 1n;
    const storeLeaseId = origin === 0n ? 0n : origin + this.revision;
    return { key, createRevision, revision: this.revision, version, storeLeaseId, reason: String(value) };
  }
}

/** What a watch tells, but for the deletions that are `dropped`. */
function mirrorOf(store: Store, dropped: ReadonlySet<bigint> = new Set()): LeaseMirror {
  const mirror = new LeaseMirror();
  for (const { key, mark, revision } of store.events) {
    if (mark !== undefined) mirror.put(mark);
    else if (!dropped.has(revision)) mirror.delete(key);
    mirror.followTo(revision);
  }
  return mirror;
}

function compare(mirror: LeaseMirror, store: Store) {
  mirror.beginComparison();
  return mirror.compare([...store.keys.values()]);
}

const writes = fc.array(write, { maxLength: 8 });

describe("LeaseMirror", () => {
  it("finds nothing in the store it followed, and no other past in what came later", () => {
    fc.assert(
      fc.property(writes, writes, (first, later) => {
        const store = new Store().run(first, 1_000n);
        const mirror = mirrorOf(store);
        expect(compare(mirror, store)).toEqual({ isOtherPast: false, keys: new Map() });
        store.run(later, 1_000n);
        expect(compare(mirror, store).isOtherPast).toBe(false);
      }),
      propertyRuns(20_000),
    );
  });

  it("finds every deletion that was not reported, and calls the store the same", () => {
    fc.assert(
      fc.property(writes, fc.nat(), (all, which) => {
        const store = new Store().run(all, 1_000n);
        const deletions = store.events.filter(({ mark }) => mark === undefined);
        const dropped = deletions[which % Math.max(1, deletions.length)];
        const { isOtherPast, keys } = compare(mirrorOf(store, new Set(dropped && [dropped.revision])), store);
        expect(isOtherPast).toBe(false);
        const stays = dropped !== undefined && isLastSeen(store, dropped);
        expect([...keys]).toEqual(stays ? [[dropped.key, ""]] : []);
      }),
      propertyRuns(20_000),
    );
  });

  it("in a copy that went another way, misses no key whose content differs", () => {
    fc.assert(
      fc.property(writes, writes, writes, (common, ours, theirs) => {
        const mirror = mirrorOf(new Store().run(common, 1_000n).run(ours, 1_000n));
        const mine = new Store().run(common, 1_000n).run(ours, 1_000n);
        const copy = new Store().run(common, 1_000n).run(theirs, 2_000n);
        const { keys } = compare(mirror, copy);
        for (const key of new Set([...mine.keys.keys(), ...copy.keys.keys()])) {
          if (mine.keys.get(key)?.reason !== copy.keys.get(key)?.reason) expect(keys.has(key)).toBe(true);
        }
      }),
      propertyRuns(20_000),
    );
  });

  it("leaves out what the watch told of while the store was being read, and names that are not exact", () => {
    const store = new Store().run([{ key: "10.5.1.0-24", value: 1, isReservation: false }], 1_000n);
    const mirror = mirrorOf(store);
    mirror.beginComparison();
    const before = [...store.keys.values()];
    mirror.delete("10.5.1.0-24");
    const [mark] = before;
    expect(mirror.compare([...before, { ...mark!, key: "??" }])).toEqual({ isOtherPast: false, keys: new Map() });
  });
});

/** No later write of the key was reported. */
function isLastSeen(store: Store, dropped: { readonly key: string; readonly revision: bigint }): boolean {
  return !store.events.some(({ key, revision }) => key === dropped.key && revision > dropped.revision);
}
