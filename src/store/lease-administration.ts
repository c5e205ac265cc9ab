// The port through which commands see a store: what operators do to leases and configuration.
import type { NetworkConfig } from "../config/network-config.ts";
import type { Lease, LeaseAttributes, LeasedSubnets, Revision } from "../lease/lease.ts";
import type { StoreTransfer } from "./store-transfer.ts";
import type { NetworkConfigDocument } from "./subnet-store.ts";

export interface ReservationRequest {
  readonly config: NetworkConfig;
  /** Of a dual-stack network either both subnets, or one that an existing lease has. */
  readonly subnets: LeasedSubnets;
  /** Whose subnet it shall be. */
  readonly owner: Pick<LeaseAttributes, "publicIp" | "publicIpv6">;
}

/** `created`: a new lease; `kept`: a live lease lost its expiry; `unchanged`: it was this reservation already. */
export type ReservationOutcome = "created" | "kept" | "unchanged";

/** `deleted`: the lease is gone; `expiring`: it has the usual life again, which the host renews if it is alive. */
export type ReleaseOutcome = "deleted" | "expiring";

/** What a store whose records are of other programs' making says of this host. */
export interface OwnRecord {
  readonly nodeName: string;
  /** Each of one family, as written; missing: there is no such record, and `problem` says so. */
  readonly podCidrs?: readonly string[];
  /** Only where this host's record has none. */
  readonly otherNodesHaveCidrs?: boolean;
  /** As it is announced there. */
  readonly publicIpAnnotation?: string;
  /** Why the scheduler places no pods there for want of a network, as whoever wrote it says. */
  readonly networkUnavailable?: { readonly reason: string; readonly message: string };
  /** What the agent needs to do and may not, as `list nodes`. */
  readonly denied: readonly string[];
  /** Why there is no record of this host, a sentence. */
  readonly problem?: string;
}

/**
 * Every write is compare-and-set: a command never undoes what an agent wrote at the same moment. All methods reject with
 * a FlannelError.
 */
export interface LeaseAdministration extends AsyncDisposable {
  /** What is odd about the options, a sentence each; it works all the same. */
  readonly warnings: readonly string[];
  /** Rejects with `CONFIG_MISSING` when there is none. */
  networkConfig(signal: AbortSignal): Promise<NetworkConfigDocument>;
  /**
   * Writes the network configuration while it still is what was `read` (undefined: while there is none); resolves with
   * the new one. Validation is the caller's. `CONFIG_CONFLICT` when another writer changed it.
   */
  setConfig(text: string, read: Revision | undefined, signal: AbortSignal): Promise<NetworkConfigDocument>;
  /** One consistent snapshot. */
  list(signal: AbortSignal): Promise<readonly Lease[]>;
  /**
   * Seconds left to each of the leases, by key; those that never expire or whose time the store does not know are left
   * out.
   */
  timeToLive(leases: readonly Lease[], signal: AbortSignal): Promise<ReadonlyMap<string, number>>;
  /** Whether nobody took the subnet again between `before` and `now`, which are of one key. */
  isSameGrant(before: Lease, now: Lease): boolean;
  /**
   * Makes a subnet belong to one public IP for good: a new lease without expiry, or the live lease of that host loses
   * its expiry. `CONFIG_INVALID` when the subnet does not fit the network, `LEASE_CONFLICT` when another host or an
   * overlapping lease has it.
   */
  reserve(
    request: ReservationRequest,
    signal: AbortSignal,
  ): Promise<{ readonly lease: Lease; readonly outcome: ReservationOutcome }>;
  /**
   * Takes a reservation back. One that a host ever took over gets its usual life again; one that nobody ever took over
   * (still as `reserve` wrote it) is deleted. An ordinary lease is deleted only with `force`, else `LEASE_CONFLICT`.
   * `LEASE_LOST` when there is no such key.
   */
  release(key: string, options: { readonly force?: boolean }, signal: AbortSignal): Promise<ReleaseOutcome>;
  /** Rejects as a write of that lease of this host would, without writing anything. Missing where that cannot be asked. */
  readonly tryWrite?: (key: string, signal: AbortSignal) => Promise<void>;
  /** Missing where the store has no records but the leases. `usualName`: of this host, unless an option names it. */
  readonly ownRecord?: (usualName: string, signal: AbortSignal) => Promise<OwnRecord>;
  /** Missing where the store has tools of its own for copies. */
  readonly transfer?: StoreTransfer;
}
