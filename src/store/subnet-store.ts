// The port through which the agent sees a store. Adapters live in store/; they never import each other.
import type { NetworkConfig } from "../config/network-config.ts";
import type { Address, Prefix } from "../ip/address.ts";
import type { Lease, LeaseAttributes, LeaseChange, LeasedSubnets, OwnLease, Revision } from "../lease/lease.ts";

export interface LeaseRequest {
  readonly config: NetworkConfig;
  /** Of the families in `config`, those that this host can serve now; missing: all. Of others it leases no new subnet. */
  readonly families?: ReadonlySet<4 | 6>;
  readonly attributes: LeaseAttributes;
  /** What a new subnet must not overlap, besides other leases and the addresses of their hosts: in use on this host. */
  readonly avoid?: readonly Prefix[];
  /** Subnets read back from subnet.env: taken again when free. */
  readonly previous?: LeasedSubnets;
  /** Held until now, with containers on them: where another host has them, the request fails with `LEASE_CONFLICT`. */
  readonly held?: LeasedSubnets;
  /** What the state directory remembers of our own lease: recognises it after a change of address. */
  readonly remembered?: RememberedLease;
}

/**
 * What distinguishes an own lease from another host's across restarts: what the adapter knows it by, and what only we can announce.
 */
export interface RememberedLease extends Pick<Lease, "key" | "adapterData"> {
  /** Whether these attributes carry an identity of this host, as its backends know it. Pure. */
  matches(attributes: LeaseAttributes): boolean;
}

/** How acquire came by the lease; named in the log. */
export type AcquireOutcome = "reused" | "previous" | "remembered" | "allocated";

export interface NetworkConfigDocument {
  /** The JSON text as stored. */
  readonly text: string;
  readonly revision: Revision;
}

/** A certificate that the connection to the store stands on. */
export interface CertificateInUse {
  /** `client`: ours; `authority`: what the store's is checked against; `server`: the store's. */
  readonly role: "client" | "authority" | "server";
  /** The file, or the endpoint that showed it. */
  readonly source: string;
  /** Missing where nobody looked. */
  readonly startsAtMs?: number;
  readonly endsAtMs: number;
}

/** Of a connection that stands on certificates; without TLS there are none in use. */
export interface StoreCertificates {
  /** A server's is known once it was reached. */
  inUse(): readonly CertificateInUse[];
  /** Reads the files again and moves all connections over. Throws `CONFIG_INVALID`; then nothing changed. */
  reload(): Promise<void>;
}

/** Addresses that the store's record of this host demands in place of `--public-ip` and `--public-ipv6`. */
export interface HostAddresses {
  readonly publicIp?: Address;
  readonly publicIpv6?: Address;
}

/** How this host's network is, for those who read it in the store. */
export interface HostStateNews {
  /** Whether packets of this host's containers can flow. */
  readonly isAvailable: boolean;
  /** Why they cannot; sentences without a full stop. */
  readonly reasons: readonly string[];
}

/** What a store knows of this host besides its lease: in Kubernetes its Node. */
export interface HostRecord {
  /** Rejects as all methods of a store; `announced` is what the record announces of us now. */
  read(signal: AbortSignal): Promise<{ readonly addresses: HostAddresses; readonly announced?: LeaseAttributes }>;
  /** The addresses as of an own lease that an earlier run saved. */
  remembered(own: Lease): HostAddresses;
  /** Resolves when the record demands other addresses than `known`, or when `signal` aborts. */
  untilChanged(known: HostAddresses, signal: AbortSignal): Promise<void>;
  /** Why what we announce does not stand in the record; undefined when it does. */
  problem(): string | undefined;
  /** To be called with the state of this moment again and again; writes it to the record when it is time. */
  report(news: HostStateNews): void;
}

/** All methods reject with a FlannelError; `retryable` ones only after the adapter's own fail-over is exhausted. */
export interface SubnetStore extends AsyncDisposable {
  /** Names the store in logs and status, without secrets. */
  readonly description: string;
  /** What is odd about the options, a sentence each; it works all the same. */
  readonly warnings: readonly string[];
  /**
   * IP addresses at which the store is reached, as far as they are known now: names are resolved, and a name that cannot
   * be resolved keeps what it had. No peer's subnet may cover them. They change without a sign: ask now and then.
   */
  addresses(): readonly Address[];
  /** Rejects with `CONFIG_MISSING` when there is none. */
  networkConfig(signal: AbortSignal): Promise<NetworkConfigDocument>;
  /** Every later version of the configuration; undefined when it was deleted. Survives outages. */
  watchNetworkConfig(after: Revision, signal: AbortSignal): AsyncIterable<NetworkConfigDocument | undefined>;
  /**
   * Never gives two hosts one subnet. Retries lost races with back-off. `POOL_EXHAUSTED` when no subnet is free,
   * `LEASE_CONFLICT` when another host has what is `held`. A living lease of ours is enough where the store takes no
   * writes: then the lease says why (`notWritten`).
   */
  acquire(request: LeaseRequest, signal: AbortSignal): Promise<{ lease: OwnLease; outcome: AcquireOutcome }>;
  /**
   * Extends the life of our lease and writes `attributes` if they changed, by compare-and-set against `lease`.
   * `LEASE_CONFLICT` when another writer wrote the key, `LEASE_LOST` when it is gone. `mustWrite`: also when nothing
   * changed, to see whether the store takes writes.
   */
  renew(lease: OwnLease, attributes: LeaseAttributes, signal: AbortSignal, mustWrite?: boolean): Promise<OwnLease>;
  /** First a snapshot, then changes in order, a snapshot again after a gap. Ends only by `signal`. */
  watch(signal: AbortSignal): AsyncIterable<LeaseChange>;
  /** One consistent snapshot, for commands. */
  list(signal: AbortSignal): Promise<readonly Lease[]>;
  /** Missing where another program renews them. */
  readonly certificates?: StoreCertificates;
  /**
   * This host's address has changed: connections from the old one are dead, and new ones are made at once. Missing where
   * the adapter notices by itself.
   */
  readonly reconnect?: () => void;
  /** Missing where the store has no record of hosts. */
  readonly host?: HostRecord;
}
