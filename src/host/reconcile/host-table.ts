// Every object that is wanted or found, one slot per object, wanted beside found. Both sides are replaced piecewise:
// what is wanted by comparing identities with the last time, what is found by notification or by a fresh look.

import { listChanges } from "../../list-changes.ts";
import { desiredOf, emptyHostState, type HostState } from "../kinds/host-state.ts";
import type { Kind, Slot, Slots } from "../kinds/kind.ts";
import { hostKinds } from "../kinds/kinds.ts";

export interface TouchedSlots {
  readonly kind: Kind;
  readonly touched: readonly Slot[];
}

export class HostTable implements Slots {
  readonly #tables = new Map<Kind, Map<string, Slot>>(hostKinds.map((kind) => [kind, new Map()]));
  readonly #kindsWithTwins = new Set<Kind>();
  #state: HostState = emptyHostState;

  get state(): HostState {
    return this.#state;
  }

  get<D, O>(kind: Kind<string, D, O>, key: string): Slot<D, O> | undefined {
    return this.#tableOf(kind).get(key);
  }

  slots<D, O>(kind: Kind<string, D, O>): Iterable<Slot<D, O>> {
    return this.#tableOf(kind).values();
  }

  /** The slots of a kind are made here, by its own objects only: so they are of its types. */
  #tableOf<D, O>(kind: Kind<string, D, O>): Map<string, Slot<D, O>> {
    return this.#tables.get(kind) as Map<string, Slot<D, O>>;
  }

  /** Replaces what is wanted. Returns the slots that may have changed; objects shared with the last state cost nothing. */
  setDesired(state: HostState): Slot[] {
    return [...this.setDesiredByKind(state)].flatMap(({ touched }) => touched);
  }

  /** As `setDesired`, kind by kind: each is replaced when the one before it has been taken. */
  *setDesiredByKind(state: HostState): Generator<TouchedSlots, void, undefined> {
    const before = this.#state;
    this.#state = state;
    for (const kind of hostKinds) yield { kind, touched: this.#setDesiredKind(kind, before, state) };
  }

  #setDesiredKind<D, O>(kind: Kind<string, D, O>, stateBefore: HostState, state: HostState): readonly Slot[] {
    const touched: Slot[] = [];
    const table = this.#tableOf(kind);
    const before = desiredOf(stateBefore, kind);
    const after = desiredOf(state, kind);
    // Two wanted objects of one key (cloned machines with one MAC) share a slot, so that only a full walk finds the survivor.
    const mustWalkAll = this.#kindsWithTwins.delete(kind);
    const all = { start: 0, endBefore: before.length, startAfter: 0, endAfter: after.length };
    const changes = mustWalkAll ? [all] : listChanges(before, after);
    for (const { start, endBefore } of changes) {
      for (const object of before.slice(start, endBefore)) {
        const slot = table.get(kind.key(object));
        if (slot === undefined || slot.desired !== object) continue;
        slot.desired = undefined;
        touched.push(slot);
      }
    }
    for (const { startAfter, endAfter } of changes) this.#assign(kind, after.slice(startAfter, endAfter), touched);
    // The last of its key counts, also when it stands in the part that did not change.
    if (this.#kindsWithTwins.has(kind) && !mustWalkAll) this.#assign(kind, after, touched);
    return touched;
  }

  #assign<D, O>(kind: Kind<string, D, O>, objects: readonly D[], touched: Slot[]): void {
    const table = this.#tableOf(kind);
    for (const object of objects) {
      const slot = ensureSlot(table, kind, kind.key(object));
      if (slot.desired !== undefined) this.#kindsWithTwins.add(kind);
      slot.desired = object;
      touched.push(slot);
    }
  }

  /** Replaces everything found of one kind. Slots that hold something found, now or before, are handed to `onLookedAt`. */
  setObserved<D, O>(kind: Kind<string, D, O>, objects: readonly O[], onLookedAt: (slot: Slot<D, O>) => void): void {
    const table = this.#tableOf(kind);
    const seen = new Set<Slot<D, O>>();
    for (const object of objects) {
      const slot = slotForObserved(table, kind, object, seen);
      if (slot === undefined) continue;
      seen.add(slot);
      slot.observed = object;
      onLookedAt(slot);
    }
    for (const slot of table.values()) {
      if (slot.observed === undefined || seen.has(slot)) continue;
      slot.observed = undefined;
      onLookedAt(slot);
    }
  }

  /** Drops a slot that is neither wanted nor found. */
  discardIfEmpty(slot: Slot): void {
    if (slot.desired === undefined && slot.observed === undefined) this.#tables.get(slot.kind)?.delete(slot.key);
  }
}

function slotForObserved<D, O>(
  table: Map<string, Slot<D, O>>,
  kind: Kind<string, D, O>,
  object: O,
  seen: ReadonlySet<Slot<D, O>>,
): Slot<D, O> | undefined {
  const slot = ensureSlot(table, kind, kind.observedKey(object));
  if (!seen.has(slot)) return slot;
  const key = slot.observed === undefined ? undefined : kind.surplusKey?.(object, slot.observed);
  return key === undefined ? undefined : ensureSlot(table, kind, key);
}

function ensureSlot<D, O>(table: Map<string, Slot<D, O>>, kind: Kind<string, D, O>, key: string): Slot<D, O> {
  const found = table.get(key);
  if (found !== undefined) return found;
  const slot: Slot<D, O> = { kind, key, desired: undefined, observed: undefined };
  table.set(key, slot);
  return slot;
}
