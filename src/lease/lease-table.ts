// What we know of all leases, kept current from a store's changes. Pure: no clock, no I/O.
// A lease whose content did not change keeps its object, so that planners can cache by identity.
import { subnetsOverlap } from "./allocator.ts";
import type { Lease, LeaseChange, Revision, UnreadableLease } from "./lease.ts";
import { hasSamePublicIp, hasSameSubnets } from "./lease-owner.ts";

/** What one change did. */
export interface TableUpdate {
  /** Some peer came, went or changed. */
  readonly peersChanged: boolean;
  /** Our own key was written, perhaps by ourselves: the lease as it now stands. */
  readonly ownWritten?: Lease;
  /** Our own key is gone, as of this revision (compare with that of the lease: the news may be old). */
  readonly ownDeletedAt?: Revision;
  /** No revision from before can be compared with those to come. */
  readonly storeReplaced?: boolean;
}

type Snapshot = Extract<LeaseChange, { type: "snapshot" }>;

export class LeaseTable {
  readonly #leases = new Map<string, Lease>();
  /** Of `#leases`; undefined when it has to be made again. */
  #peers: readonly Lease[] | undefined;
  readonly #unreadable = new Map<string, string>();
  /** Of `#leases`, those that a store which replaced another does not have. */
  readonly #missing = new Set<string>();
  #ownKey: string | undefined;
  #revision: Revision | undefined;
  #hasSnapshot = false;

  /** Key of our own lease: never a peer. */
  setOwnKey(key: string | undefined): void {
    this.#ownKey = key;
    this.#peers = undefined;
  }

  /** True once a store told the whole truth: from then on what is not here is gone. */
  get hasSnapshot(): boolean {
    return this.#hasSnapshot;
  }

  /** How far we have followed the store; undefined before it told us anything. */
  get revision(): Revision | undefined {
    return this.#revision;
  }

  /** Leases of the others. The same array until one of them changes, so that its identity can key caches. */
  peers(): readonly Lease[] {
    this.#peers ??= [...this.#leases.values()].filter(({ key }) => key !== this.#ownKey);
    return this.#peers;
  }

  /** Peers that the store does not know since it was replaced; they count as peers until `forgetMissing`. */
  get missingPeers(): number {
    return this.#missing.size;
  }

  /** Returns how many peers there were. */
  forgetMissing(): number {
    const forgotten = this.#missing.size;
    for (const key of this.#missing) this.#remove(key);
    this.#missing.clear();
    return forgotten;
  }

  unreadable(): UnreadableLease[] {
    return [...this.#unreadable].map(([key, reason]) => ({ key, reason }));
  }

  /** Peers remembered from an earlier run, until the store answers. Ignored once it did. */
  seed(leases: readonly Lease[]): void {
    if (this.#hasSnapshot) return;
    for (const lease of leases) this.#set(lease.key, lease);
  }

  apply(change: LeaseChange): TableUpdate {
    if (change.type === "snapshot") return this.#applySnapshot(change);
    if (change.type === "changes") return this.#applyChanges(change);
    if (change.type === "contact") this.#followTo(change.revision);
    return { peersChanged: false };
  }

  #applySnapshot(snapshot: Snapshot): TableUpdate {
    const own = this.#ownKey;
    // A key that is there but cannot be read keeps the lease we knew, exactly as a change would.
    const present = new Set([...snapshot.leases, ...snapshot.unreadable].map(({ key }) => key));
    const hasDropped = this.#dropAbsent(present, snapshot.isOtherStore === true);
    this.#unreadable.clear();
    for (const { key, reason } of snapshot.unreadable) this.#unreadable.set(key, reason);
    const changed = snapshot.leases.filter((lease) => this.#put(lease));
    this.#revision = snapshot.revision;
    this.#hasSnapshot = true;
    const ownWritten = snapshot.leases.findLast(({ key }) => key === own);
    return {
      peersChanged: hasDropped || changed.some(({ key }) => key !== own),
      // Also when the table did not hold it: a lease acquired just before may be gone by now.
      ...(own !== undefined && !present.has(own) && { ownDeletedAt: snapshot.revision }),
      ...(ownWritten && { ownWritten }),
      ...(snapshot.isOtherStore === true && { storeReplaced: true }),
    };
  }

  /** Removes what a snapshot does not have; a store that replaced another may miss peers for a while. True when a peer went. */
  #dropAbsent(present: ReadonlySet<string>, isOtherStore: boolean): boolean {
    let hasDropped = false;
    for (const key of [...this.#leases.keys()].filter((known) => !present.has(known))) {
      const isPeer = key !== this.#ownKey;
      if (isPeer && (isOtherStore || this.#missing.has(key))) {
        this.#missing.add(key);
        continue;
      }
      this.#remove(key);
      hasDropped ||= isPeer;
    }
    return hasDropped;
  }

  #applyChanges(change: Extract<LeaseChange, { type: "changes" }>): TableUpdate {
    let peersChanged = false;
    let own: (typeof change.changes)[number] | undefined;
    for (const { key, reason } of change.unreadable) this.#unreadable.set(key, reason);
    for (const event of change.changes) {
      const key = event.type === "put" ? event.lease.key : event.key;
      this.#unreadable.delete(key);
      const changed = event.type === "put" ? this.#put(event.lease) : this.#delete(key);
      if (key === this.#ownKey) own = event;
      else peersChanged ||= changed;
    }
    this.#followTo(change.revision);
    return {
      peersChanged,
      ...(own?.type === "delete" && { ownDeletedAt: own.revision }),
      ...(own?.type === "put" && { ownWritten: own.lease }),
    };
  }

  #set(key: string, lease: Lease): void {
    this.#peers = undefined;
    this.#leases.set(key, lease);
  }

  #remove(key: string): boolean {
    this.#peers = undefined;
    return this.#leases.delete(key);
  }

  #followTo(revision: Revision): void {
    if (this.#revision === undefined || revision.isAfter(this.#revision)) this.#revision = revision;
  }

  #delete(key: string): boolean {
    this.#missing.delete(key);
    return this.#remove(key);
  }

  /** Returns whether anything a planner reads changed. */
  #put(lease: Lease): boolean {
    // Most come back as they were: only for the others the rest of the missing is gone through.
    const isReplacement = !this.#missing.delete(lease.key) && this.#forgetOwner(lease);
    const known = this.#leases.get(lease.key);
    if (known !== undefined && sameContent(known, lease)) return isReplacement;
    this.#set(lease.key, lease);
    return true;
  }

  /** A missing peer is gone once it has come back with another subnet, or another host has its subnet. */
  #forgetOwner(lease: Lease): boolean {
    let isForgotten = false;
    for (const key of this.#missing) {
      const missing = this.#leases.get(key);
      if (missing === undefined) continue;
      if (!hasSamePublicIp(missing.attributes, lease.attributes) && !subnetsOverlap(missing, lease)) continue;
      isForgotten = this.#delete(key) || isForgotten;
    }
    return isForgotten;
  }
}

/** Equal for everybody but the store: a mere renewal is no change. */
function sameContent(a: Lease, b: Lease): boolean {
  if (a.createdAt.isAfter(b.createdAt) || b.createdAt.isAfter(a.createdAt)) return false;
  return a.key === b.key && hasSameSubnets(a, b) && JSON.stringify(a.attributes) === JSON.stringify(b.attributes);
}
