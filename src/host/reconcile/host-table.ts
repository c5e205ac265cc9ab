// Every object that is wanted or found, one slot per object, wanted beside found. Both sides are replaced piecewise:
// what is wanted by comparing identities with the last time, what is found by notification or by a fresh look.
import { familyOf } from "../../ip/address.ts";
import {
  type Desired,
  type HostKind,
  hostKinds,
  kindRules,
  type Observed,
  type ObservedRoute,
} from "../kinds/host-objects.ts";
import { emptyHostState, type HostState } from "../kinds/host-state.ts";

export interface Slot<K extends HostKind> {
  readonly kind: K;
  readonly key: string;
  desired: Desired<K> | undefined;
  observed: Observed<K> | undefined;
}
export type AnySlot = { [K in HostKind]: Slot<K> }[HostKind];

/** Everything found of each kind, as a whole. */
export type ObservedState = { readonly [K in HostKind]: readonly Observed<K>[] };

export const emptyObservedState: ObservedState = {
  link: [],
  sysctl: [],
  address: [],
  neighbour: [],
  fdb: [],
  route: [],
  blackhole: [],
};

export interface TouchedSlots {
  readonly kind: HostKind;
  readonly touched: readonly AnySlot[];
}

type Tables = { readonly [K in HostKind]: Map<string, Slot<K>> };

export class HostTable {
  readonly #tables: Tables = {
    link: new Map(),
    sysctl: new Map(),
    address: new Map(),
    neighbour: new Map(),
    fdb: new Map(),
    route: new Map(),
    blackhole: new Map(),
  };
  readonly #kindsWithTwins = new Set<HostKind>();
  #state: HostState = emptyHostState;

  get state(): HostState {
    return this.#state;
  }

  get<K extends HostKind>(kind: K, key: string): Slot<K> | undefined {
    return this.#tables[kind].get(key);
  }

  slots<K extends HostKind>(kind: K): Iterable<Slot<K>> {
    return this.#tables[kind].values();
  }

  /** Whether the plan puts an address of this family on the device; only then are others of it in the way. */
  hasDesiredAddress(device: string, family: 4 | 6): boolean {
    return this.#state.addresses.some((wanted) => wanted.device === device && familyOf(wanted.address) === family);
  }

  /** Replaces what is wanted. Returns the slots that may have changed; objects shared with the last state cost nothing. */
  setDesired(state: HostState): AnySlot[] {
    return [...this.setDesiredByKind(state)].flatMap(({ touched }) => touched);
  }

  /** As `setDesired`, kind by kind: each is replaced when the one before it has been taken. */
  *setDesiredByKind(state: HostState): Generator<TouchedSlots, void, undefined> {
    const before = this.#state;
    this.#state = state;
    for (const kind of hostKinds) yield { kind, touched: this.#setDesiredKind(kind, before, state) };
  }

  #setDesiredKind<K extends HostKind>(kind: K, stateBefore: HostState, state: HostState): readonly AnySlot[] {
    const touched: AnySlot[] = [];
    const rules = kindRules[kind];
    const before: readonly Desired<K>[] = rules.desiredOf(stateBefore);
    const after: readonly Desired<K>[] = rules.desiredOf(state);
    // Two wanted objects of one key (cloned machines with one MAC) share a slot, so that only a full walk finds the survivor.
    const mustWalkAll = this.#kindsWithTwins.delete(kind);
    const [start, endBefore, endAfter] = mustWalkAll ? [0, before.length, after.length] : changedRange(before, after);
    for (let i = start; i < endBefore; i++) {
      const object = before[i];
      const slot = object === undefined ? undefined : this.#tables[kind].get(rules.key(object));
      if (slot === undefined || slot.desired !== object) continue;
      slot.desired = undefined;
      touched.push(slot as AnySlot);
    }
    this.#assign(kind, after.slice(start, endAfter), touched);
    // The last of its key counts, also when it stands in the part that did not change.
    if (this.#kindsWithTwins.has(kind) && !mustWalkAll) this.#assign(kind, after, touched);
    return touched;
  }

  #assign<K extends HostKind>(kind: K, objects: readonly Desired<K>[], touched: AnySlot[]): void {
    for (const object of objects) {
      const slot = this.#ensure(kind, kindRules[kind].key(object));
      if (slot.desired !== undefined) this.#kindsWithTwins.add(kind);
      slot.desired = object;
      touched.push(slot as AnySlot);
    }
  }

  /** Replaces everything found of one kind. Slots that hold something found, now or before, are handed to `onLookedAt`. */
  setObserved<K extends HostKind>(kind: K, objects: readonly Observed<K>[], onLookedAt: (slot: Slot<K>) => void): void {
    const seen = new Set<Slot<K>>();
    for (const object of objects) {
      const slot = this.#slotForObserved(kind, object, seen);
      if (slot === undefined) continue;
      seen.add(slot);
      slot.observed = object;
      onLookedAt(slot);
    }
    for (const slot of this.#tables[kind].values()) {
      if (slot.observed === undefined || seen.has(slot)) continue;
      slot.observed = undefined;
      onLookedAt(slot);
    }
  }

  #slotForObserved<K extends HostKind>(kind: K, object: Observed<K>, seen: Set<Slot<K>>): Slot<K> | undefined {
    const key = kindRules[kind].observedKey(object);
    const slot = this.#ensure(kind, key);
    if (!seen.has(slot)) return slot;
    if (kind !== "route") return undefined;
    // The kernel takes several routes to one destination (NLM_F_APPEND): the first is used, our others are surplus.
    // Listed twice while the table changed, it is one all the same.
    const [route, first] = [object as ObservedRoute, slot.observed as ObservedRoute];
    const isSame = route.gateway === first.gateway && route.device === first.device;
    return route.isOurs && !isSame ? this.#ensure(kind, `${key} via ${route.gateway} dev ${route.device}`) : undefined;
  }

  #ensure<K extends HostKind>(kind: K, key: string): Slot<K> {
    const table: Map<string, Slot<K>> = this.#tables[kind];
    const found = table.get(key);
    if (found !== undefined) return found;
    const slot: Slot<K> = { kind, key, desired: undefined, observed: undefined };
    table.set(key, slot);
    return slot;
  }

  /** Drops a slot that is neither wanted nor found. */
  discardIfEmpty(slot: AnySlot): void {
    if (slot.desired === undefined && slot.observed === undefined) this.#tables[slot.kind].delete(slot.key);
  }
}

/** The part in which two lists differ by identity: same start, ends in either list. */
function changedRange<T>(
  before: readonly T[],
  after: readonly T[],
): [start: number, endBefore: number, endAfter: number] {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start++;
  let tail = 0;
  while (tail < shorter - start && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail++;
  return [start, before.length - tail, after.length - tail];
}
