// The peers of one family as they were settled last, so that a few changed leases are judged alone: in a network of
// thousands one lease that comes would otherwise cost a look at all of them. What is not plain is left to `settleClaims`.

import type { Lease } from "../lease/lease.ts";
import { type ListChange, listChanges } from "../list-changes.ts";
import type { DisjointPrefixes } from "./disjoint-prefixes.ts";
import type { PeerReach, SkippedLease } from "./peer-reach.ts";
import { type ClaimContext, claimedPrefixes, hasHostInside, settleClaims } from "./settle-claims.ts";
import { settleHolders } from "./settle-holders.ts";

export interface SettlingInputs {
  /** Those of this backend. */
  readonly ours: readonly Lease[];
  readonly context: ClaimContext;
  /** What else the readings depend on, compared by identity. */
  readonly others: readonly unknown[];
}

/** See `settleHolders`. */
export interface UniqueThing<Reach extends PeerReach> {
  readonly name: string;
  readonly of: (reach: Reach) => string;
}

interface Settled<Reach extends PeerReach> {
  readonly inputs: SettlingInputs;
  /** One for each of `inputs.ours`, in their order. */
  readonly accepted: readonly Reach[];
  readonly thingOf: (reach: Reach) => string;
  /** Made when the first few changes come. */
  readonly index?: AcceptedIndex<Reach>;
}

/** With more changed leases than this a look at all of them is as quick. */
const MAX_CHANGED = 128;

export class SettledPeers<Reach extends PeerReach> {
  #settled: Settled<Reach> | undefined;

  /**
   * The peers that are served, in the order of their leases. `read` gives a reach, why the lease is skipped (added to
   * `skipped`), or undefined for a lease without this family. `thing`: what else than a subnet leads to one host only.
   */
  settle(
    inputs: SettlingInputs,
    read: (lease: Lease) => Reach | SkippedLease | undefined,
    skipped: SkippedLease[],
    thing?: UniqueThing<Reach>,
  ): readonly Reach[] {
    const known = this.judge(inputs, (lease) => {
      const reading = read(lease);
      return reading === undefined || isSkipped(reading) ? undefined : reading;
    });
    if (known !== undefined) return known;
    const reaches: Reach[] = [];
    for (const lease of inputs.ours) {
      const reading = read(lease);
      if (reading === undefined) continue;
      if (isSkipped(reading)) skipped.push(reading);
      else reaches.push(reading);
    }
    const settled = settleClaims(reaches, inputs.context);
    skipped.push(...settled.skipped);
    const accepted =
      thing === undefined ? settled.accepted : settleHolders(settled.accepted, thing.of, thing.name, skipped);
    this.remember(inputs, accepted, thing?.of ?? (({ subnet }) => subnet));
    return accepted;
  }

  /**
   * What `settleClaims` accepted of these inputs. `thingOf`: see `settleHolders`. Nothing is remembered unless every lease was
   * accepted, no host has its address inside the network, and no two lead one thing anywhere.
   */
  remember(inputs: SettlingInputs, accepted: readonly Reach[], thingOf: (reach: Reach) => string): void {
    const { ours, context } = inputs;
    // A plan without peers may be one beside the real one: what is remembered stays true.
    if (ours.length === 0) return;
    this.#settled = undefined;
    if (accepted.length !== ours.length) return;
    if (!accepted.every(({ lease }, index) => lease === ours[index])) return;
    if (!hasHostInside(context.leases, context.network)) this.#settled = { inputs, accepted, thingOf };
  }

  /**
   * The accepted reaches, one for each lease, when only a few leases differ from what is remembered and all of those are plain;
   * undefined: all have to be settled. `read` gives undefined for what is not plain.
   */
  judge(inputs: SettlingInputs, read: (lease: Lease) => Reach | undefined): readonly Reach[] | undefined {
    const settled = this.#settled;
    if (settled === undefined || inputs.ours.length === 0 || !hasSameGround(settled.inputs, inputs)) return undefined;
    const changes = listChanges(settled.inputs.ours, inputs.ours);
    this.#settled = undefined; // unless all goes well: an index that was followed half-way is of no use
    if (changedLeases(changes) > MAX_CHANGED || bringsHostInside(settled.inputs.context, inputs.context))
      return undefined;
    const index = settled.index ?? AcceptedIndex.of(settled);
    const accepted = index?.follow(settled.accepted, changes, (start, end) => inputs.ours.slice(start, end).map(read));
    if (index === undefined || accepted === undefined) return undefined;
    this.#settled = { ...settled, inputs, accepted, index };
    return accepted;
  }
}

/** What the accepted reaches hold. */
class AcceptedIndex<Reach extends PeerReach> {
  readonly #claims: DisjointPrefixes<unknown>;
  readonly #things: Set<string>;
  readonly #thingOf: (reach: Reach) => string;

  private constructor(claims: DisjointPrefixes<unknown>, things: Set<string>, thingOf: (reach: Reach) => string) {
    this.#claims = claims;
    this.#things = things;
    this.#thingOf = thingOf;
  }

  /** Undefined when two of them hold one thing. */
  static of<Reach extends PeerReach>({ inputs, accepted, thingOf }: Settled<Reach>): AcceptedIndex<Reach> | undefined {
    const claims = claimedPrefixes(accepted, inputs.context);
    const things = new Set(accepted.map(thingOf));
    if (claims === undefined || things.size !== accepted.length) return undefined;
    return new AcceptedIndex(claims, things, thingOf);
  }

  /** The list after the changes; undefined when one of the new reaches is not plain, and then the index is of no use any more. */
  follow(
    accepted: readonly Reach[],
    changes: readonly ListChange[],
    read: (startAfter: number, endAfter: number) => readonly (Reach | undefined)[],
  ): readonly Reach[] | undefined {
    if (changes.length === 0) return accepted;
    for (const { start, endBefore } of changes)
      for (const reach of accepted.slice(start, endBefore)) this.#release(reach);
    const parts: Reach[][] = [];
    let end = 0;
    for (const { start, endBefore, startAfter, endAfter } of changes) {
      const added = read(startAfter, endAfter).filter((reach) => reach !== undefined && this.#claim(reach));
      if (added.length < endAfter - startAfter) return undefined;
      parts.push(
        accepted.slice(end, start),
        added.filter((reach) => reach !== undefined),
      );
      end = endBefore;
    }
    return parts.concat([accepted.slice(end)]).flat();
  }

  #release(reach: Reach): void {
    this.#claims.release(reach.subnet);
    this.#things.delete(this.#thingOf(reach));
  }

  #claim(reach: Reach): boolean {
    const thing = this.#thingOf(reach);
    if (!this.#claims.hasLength(reach.lengthBits) || this.#things.has(thing)) return false;
    this.#things.add(thing);
    return this.#claims.claim(reach.subnet, reach) === undefined;
  }
}

function changedLeases(changes: readonly ListChange[]): number {
  return changes.reduce(
    (sum, { start, endBefore, startAfter, endAfter }) => sum + endBefore - start + endAfter - startAfter,
    0,
  );
}

/** Whether the address of a new lease's host lies inside the network, where a subnet may cover it. */
function bringsHostInside(before: ClaimContext, after: ClaimContext): boolean {
  return listChanges(before.leases, after.leases).some(({ startAfter, endAfter }) =>
    hasHostInside(after.leases.slice(startAfter, endAfter), after.network),
  );
}

function isSkipped(reading: PeerReach | SkippedLease): reading is SkippedLease {
  return "reason" in reading;
}

/** Whether only the leases differ. */
function hasSameGround(a: SettlingInputs, b: SettlingInputs): boolean {
  const { network, ownSubnet, external, occupied } = a.context;
  const isSameHost = external === b.context.external && occupied === b.context.occupied;
  const isSameNetwork = network === b.context.network && ownSubnet === b.context.ownSubnet;
  const areOthersSame =
    a.others.length === b.others.length && a.others.every((other, index) => other === b.others[index]);
  return isSameHost && isSameNetwork && areOthersSame;
}
