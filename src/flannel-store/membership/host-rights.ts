// What a host of a cluster may write: its own lease and its own store leases, and nothing else. A stolen key of one host is
// then no power over the traffic of the others.
import type { PutRequest, RequestOp } from "../../etcd-api/etcd.ts";
import { keySpaceOf } from "../../etcd-api/key-space.ts";
import { subnetsOverlap } from "../../lease/allocator.ts";
import type { HostCaller } from "../grpc/caller.ts";
import { grpcStatus, RpcError } from "../grpc/rpc-error.ts";
import type { CallerRights } from "../server/caller-rights.ts";
import type { Database, KeyState } from "../server/database.ts";
import { rangeFromWire } from "../server/key-range.ts";
import { Owners } from "../server/owners.ts";
import type { RevisionWriter } from "../server/revision-writer.ts";
import {
  announcedBy,
  type LeaseEntry,
  type LeaseName,
  parseLeaseName,
  readLeaseEntry,
  sharesSubnet,
  shownKey,
  tryParseValue,
} from "./lease-entry.ts";

/** What is known of the members of the cluster. */
export interface Members {
  readonly etcdPrefix: string;
  /** Undefined when there is no such member (any more). */
  nameOf(keyPin: string): string | undefined;
  /** Of those that have called from one of the addresses. */
  namesAt(addresses: readonly string[]): readonly string[];
  isConnected(keyPin: string): boolean;
  hasCalledFrom(keyPin: string, addresses: readonly string[]): boolean;
}

/** flannel's. A longer one would be a reservation. */
const MAX_TTL_SECONDS = 86_400n;
/** Without a key on it: an agent that restarts takes a new one each time. Of more the oldest goes. */
const MAX_UNUSED_LEASES = 100;
/** Of one host: it has one, and for up to a day what a lost state directory or another address has left behind. */
const MAX_KEYS = 16;
const MAX_VALUE_BYTES = 64 * 1024;

export class HostRights implements CallerRights {
  readonly #host: HostCaller;
  readonly #members: Members;

  constructor(host: HostCaller, members: Members) {
    this.#host = host;
    this.#members = members;
  }

  write<T>(writer: RevisionWriter, operations: readonly RequestOp[], run: () => T): T {
    const { database } = writer;
    const puts = operations.flatMap(({ requestPut }) => requestPut ?? []);
    this.#check(database, puts, this.#deleted(database, operations));
    const result = run();
    this.#own(
      database,
      puts.map(({ key }) => key),
    );
    return result;
  }

  grantedTtl(id: bigint, ttlSeconds: bigint): bigint {
    if (id !== 0n) throw this.#refusal("choose the id of a store lease");
    return ttlSeconds > MAX_TTL_SECONDS ? MAX_TTL_SECONDS : ttlSeconds;
  }

  granted({ database }: RevisionWriter, id: bigint): readonly bigint[] {
    const owners = new Owners(database);
    owners.noteLease(id, this.#host.keyPin);
    const unused = owners.unusedLeases(this.#host.keyPin);
    return unused.slice(0, Math.max(0, unused.length - MAX_UNUSED_LEASES));
  }

  checkRevoke(database: Database, id: bigint): void {
    this.#checkLease(database, id, "revoke", false);
  }

  checkKeepAlive(database: Database, id: bigint): "known" | "toBeNoted" {
    const keys = this.#checkLease(database, id, "renew", true);
    const owners = new Owners(database);
    return keys.every((key) => owners.ofKey(key) === this.#host.keyPin) ? "known" : "toBeNoted";
  }

  noteKept({ database }: RevisionWriter, id: bigint): void {
    // It may have changed since it was looked at.
    this.#own(database, this.#checkLease(database, id, "renew", true));
  }

  #own(database: Database, keys: readonly Uint8Array[]): void {
    const owners = new Owners(database);
    for (const key of keys) owners.noteKey(key, this.#host.keyPin);
  }

  /** What deletions would delete. */
  #deleted(database: Database, operations: readonly RequestOp[]): readonly LeaseEntry[] {
    return operations.flatMap(({ requestDeleteRange: request }) => {
      if (request === undefined) return [];
      const range = rangeFromWire(request.key, request.rangeEnd);
      if (database.countCurrent(range) > MAX_KEYS) throw this.#refusal("delete more than its own lease");
      return database.currentKeys(range).map((key) => {
        const entry = readLeaseEntry(database, key);
        if (entry === undefined) throw this.#refusal(`delete ${shownKey(key)}`);
        return entry;
      });
    });
  }

  #check(database: Database, puts: readonly PutRequest[], deleted: readonly LeaseEntry[]): void {
    const created: Created[] = [];
    for (const put of puts) {
      const state = database.state(put.key);
      if (state === undefined) created.push(this.#checkCreation(database, put, deleted, created));
      else this.#checkReplacement(database, put, state);
    }
    for (const entry of deleted) this.#checkDeletion(entry, created);
    if (created.length === 0) return;
    const own = new Owners(database).countKeys(this.#host.keyPin);
    if (own + created.length - deleted.length > MAX_KEYS) {
      throw this.#refusal(`have more than ${MAX_KEYS} leases at a time: those that it does not renew end within a day`);
    }
  }

  #checkReplacement(database: Database, put: PutRequest, state: KeyState): void {
    const entry = readLeaseEntry(database, put.key);
    if (entry === undefined) throw this.#refusal(`write ${shownKey(put.key)}`);
    const addresses = put.ignoreValue ? entry.addresses : this.#announced(put);
    const claim = this.#claim(entry);
    const isSameHosts = entry.addresses.every((address) => addresses.includes(address));
    if (claim.isOthers || (claim.isUnclaimed && !isSameHosts)) {
      throw this.#refusal(`write lease ${entry.name}, which ${claim.holder}`);
    }
    if (put.ignoreLease || put.lease === state.lease) return;
    if (put.lease === 0n) throw this.#refusal(`make lease ${entry.name} a reservation`);
    if (state.lease === 0n) throw this.#refusal(`make the reservation ${entry.name} a lease that ends`);
    this.#checkLease(database, put.lease, "use", false);
  }

  #checkCreation(
    database: Database,
    put: PutRequest,
    deleted: readonly LeaseEntry[],
    created: readonly Created[],
  ): Created {
    const name = parseLeaseName(put.key);
    if (name === undefined || !this.#isNetwork(database, name)) throw this.#refusal(`write ${shownKey(put.key)}`);
    const addresses = this.#announced(put);
    this.#checkOverlap(database, name, deleted, created);
    if (put.lease !== 0n) this.#checkLease(database, put.lease, "use", false);
    const isMoved = deleted.some((entry) => entry.storeLeaseId === 0n && sharesSubnet(entry.subnets, name.subnets));
    if (put.lease === 0n && !isMoved)
      throw this.#refusal(`make a reservation, which lease ${name.name} without end is`);
    return { ...name, addresses };
  }

  #checkDeletion(entry: LeaseEntry, created: readonly Created[]): void {
    const claim = this.#claim(entry);
    // In the same transaction it comes back under another name, for the same host.
    const isMoved = created.some(
      ({ subnets, addresses }) =>
        sharesSubnet(subnets, entry.subnets) && entry.addresses.every((address) => addresses.includes(address)),
    );
    if (claim.isOthers || (claim.isUnclaimed && !isMoved)) {
      throw this.#refusal(`delete lease ${entry.name}, which ${claim.holder}`);
    }
  }

  /** A lease is taken in a network that the administrator has made. */
  #isNetwork(database: Database, { root }: LeaseName): boolean {
    if (root === keySpaceOf(this.#members.etcdPrefix).root) return true;
    return database.state(Buffer.from(`${root}config`, "latin1")) !== undefined;
  }

  /** A key of its own does not make a subnet free that another host has, whole or in part. */
  #checkOverlap(
    database: Database,
    { directory, name, subnets }: LeaseName,
    deleted: readonly LeaseEntry[],
    created: readonly Created[],
  ): void {
    const gone = new Set(deleted.filter((entry) => entry.directory === directory).map((entry) => entry.name));
    const end = `${directory.slice(0, -1)}0`;
    const range = { start: Buffer.from(directory, "latin1"), end: Buffer.from(end, "latin1") };
    for (const key of database.currentKeys(range)) {
      const other = parseLeaseName(key);
      if (other === undefined || gone.has(other.name) || !subnetsOverlap(other.subnets, subnets)) continue;
      const entry = readLeaseEntry(database, key);
      const claim = entry && this.#claim(entry);
      if (claim === undefined || claim.isOwn) continue;
      throw this.#refusal(`take ${name}: it overlaps with lease ${other.name}, which ${claim.holder}`);
    }
    const twin = created.find((other) => other.directory === directory && subnetsOverlap(other.subnets, subnets));
    if (twin !== undefined) throw this.#refusal(`take ${name} and ${twin.name}, which overlap`);
  }

  /** Gives the keys on the lease. `mayBeUnclaimed`: also when nobody knows whose they are. */
  #checkLease(database: Database, id: bigint, what: string, mayBeUnclaimed: boolean): readonly Uint8Array[] {
    const owner = new Owners(database).ofLease(id);
    const isGranted = owner === this.#host.keyPin;
    const keys = database.keysOfLease(id, MAX_KEYS + 1);
    const isFree = isGranted || owner === undefined;
    if (keys.length > MAX_KEYS || (keys.length === 0 && !isFree))
      throw this.#refusal(`${what} a store lease of another`);
    for (const key of keys) {
      const entry = readLeaseEntry(database, key);
      const claim = entry && this.#claim(entry);
      if (claim?.isOwn === true || (mayBeUnclaimed && claim?.isUnclaimed === true)) continue;
      const holder = entry === undefined ? shownKey(key) : `lease ${entry.name}, which ${claim?.holder}`;
      throw this.#refusal(`${what} the store lease of ${holder}`);
    }
    return keys;
  }

  #announced(put: PutRequest): readonly string[] {
    const attributes = put.value.length > MAX_VALUE_BYTES ? undefined : tryParseValue(put.value);
    if (attributes === undefined) throw this.#refusal(`write what is no lease to ${shownKey(put.key)}`);
    return announcedBy(attributes);
  }

  /**
   * By who wrote it; else by the address that it announces and the call comes from. To a caller from there a member loses a
   * lease while it is not connected, since it was reinstalled under another name, and one with an address that it
   * never had, which would keep the other from its own.
   */
  #claim({ owner, addresses }: LeaseEntry): Claim {
    if (owner === this.#host.keyPin) return ownClaim;
    const isHere = addresses.some((address) => this.#host.addresses.includes(address));
    const ownerName = owner === undefined ? undefined : this.#members.nameOf(owner);
    if (owner !== undefined && ownerName !== undefined) {
      const isThere = this.#members.isConnected(owner) && this.#members.hasCalledFrom(owner, addresses);
      return isHere && !isThere ? ownClaim : othersClaim(`belongs to host ${ownerName}`);
    }
    if (isHere) return ownClaim;
    const [seen] = this.#members.namesAt(addresses);
    if (seen !== undefined) return othersClaim(`announces an address of host ${seen}`);
    if (addresses.length === 0) return othersClaim("announces nothing that can be read");
    return { isOwn: false, isOthers: false, isUnclaimed: true, holder: `is for ${addresses.join(" and ")}` };
  }

  #refusal(what: string): RpcError {
    return refusalOf(this.#host, what);
  }
}

/** Names the host, what it was refused, and the right that is missing. */
export function refusalOf({ name }: Pick<HostCaller, "name">, what: string): RpcError {
  return new RpcError(
    grpcStatus.permissionDenied,
    `flannel-store: host ${name} may not ${what}; this needs the right of the administrator: run flannelctl as root on the store's host`,
  );
}

interface Created extends LeaseName {
  readonly addresses: readonly string[];
}

interface Claim {
  readonly isOwn: boolean;
  readonly isOthers: boolean;
  /** Nobody is known whose it could be. */
  readonly isUnclaimed: boolean;
  /** A clause for a message. */
  readonly holder: string;
}

const ownClaim: Claim = { isOwn: true, isOthers: false, isUnclaimed: false, holder: "is its own" };

function othersClaim(holder: string): Claim {
  return { isOwn: false, isOthers: true, isUnclaimed: false, holder };
}
