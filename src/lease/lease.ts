// What a lease is, free of any store. Pure.
import type { Address, Prefix } from "../ip/address.ts";

/** JSON as a backend writes it into a lease; kept as parsed plain data and compared by its serialised form. */
export type BackendData =
  | string
  | number
  | boolean
  | null
  | readonly BackendData[]
  | { readonly [key: string]: BackendData };

/** What a host announces about itself. Wire names: PublicIP, PublicIPv6, BackendType, BackendData, BackendV6Data. */
export interface LeaseAttributes {
  /** At which others reach it; missing on a host without IPv4 (written as 0.0.0.0 for upstream's parser). */
  readonly publicIp?: Address;
  readonly publicIpv6?: Address;
  /** Missing for udp, alloc and the cloud backends, as upstream. */
  readonly backendType?: string;
  readonly backendData?: BackendData;
  readonly backendV6Data?: BackendData;
}

/** The leased prefixes; at least one is set. Host bits are clear. */
export interface LeasedSubnets {
  readonly subnet?: Prefix;
  readonly ipv6Subnet?: Prefix;
}

/** Those that are set, IPv4 first. */
export function prefixesOf(subnets: LeasedSubnets | undefined): readonly Prefix[] {
  return [subnets?.subnet, subnets?.ipv6Subnet].filter((subnet) => subnet !== undefined);
}

/**
 * When a store wrote something. Opaque: only the adapter that made it knows what is inside. Its text is for people and
 * logs.
 */
export interface Revision {
  /** Whether this was written later than `other`, in the same store. Of what was written at once neither is later. */
  isAfter(other: Revision): boolean;
  toString(): string;
}

/** One host's lease as any store tells it. Immutable: a change makes a new object, so identity can key caches. */
export interface Lease extends LeasedSubnets {
  /**
   * Unique within a network: in etcd the subnets (`10.5.34.0-24` or `10.5.34.0-24&fd00::-64`), in Kubernetes the Node's
   * name, whose subnets may change.
   */
  readonly key: string;
  readonly attributes: LeaseAttributes;
  /** Of the last write; orders leases, and changes of one key. */
  readonly revision: Revision;
  /** Of the write that created the key. Of two leases over one address the older one holds, for every host. */
  readonly createdAt: Revision;
  /** Never expires: an operator gave the subnet to this host for good. */
  readonly isReservation: boolean;
  /** What the store's adapter has to know besides. Nobody else looks into it; it is plain data. */
  readonly adapterData: unknown;
}

/** Our own lease, with what renewing it needs. */
export interface OwnLease extends Lease {
  /** Wall-clock ms of expiry; undefined for a reservation. */
  readonly expiresAtMs?: number;
  /** The lease is as an earlier run wrote it, since the store takes no writes, for this reason. */
  readonly notWritten?: string;
}

/** How the leases of a store are written into the state directory, and read back. */
export interface LeaseCodec {
  /** Plain JSON. */
  serialise(lease: Lease): Readonly<Record<string, unknown>>;
  /** Undefined for what this codec did not write. */
  tryParse(entry: Readonly<Record<string, unknown>>): Lease | undefined;
}

/** A key under the lease directory that cannot be read; everything else stays as it is. */
export interface UnreadableLease {
  readonly key: string;
  readonly reason: string;
}

export type LeaseChange =
  /** The whole truth at `revision`: first, and again after a gap. Leases not in it are gone. */
  | {
      readonly type: "snapshot";
      readonly leases: readonly Lease[];
      readonly unreadable: readonly UnreadableLease[];
      readonly revision: Revision;
      /** Revisions start over: the store was recreated, or an older copy of it was put back. */
      readonly isOtherStore?: boolean;
      /** What the changes told before had left out: this snapshot corrects it. */
      readonly missedKeys?: readonly string[];
    }
  /** In the order in which the store wrote them. A put of an unreadable value is in `unreadable`, the old lease of that key stays. */
  | {
      readonly type: "changes";
      readonly changes: readonly LeaseEvent[];
      readonly unreadable: readonly UnreadableLease[];
      readonly revision: Revision;
    }
  /** The store answered (progress notification, keepalive): what we have is current. */
  | { readonly type: "contact"; readonly revision: Revision }
  /** The stream broke; the adapter reconnects by itself. Sent again when the outage has another reason. */
  | {
      readonly type: "disconnected";
      readonly reason: string;
      /** Waiting does not cure it: the store refuses us, or what we connect to is no part of it any longer. */
      readonly isRefusal?: boolean;
    };

export type LeaseEvent =
  | { readonly type: "put"; readonly lease: Lease }
  | { readonly type: "delete"; readonly key: string; readonly revision: Revision };
