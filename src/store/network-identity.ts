// What a host knows its network by, whichever store holds its leases.
import type { LeaseCodec } from "../lease/lease.ts";

export interface NetworkIdentity {
  /** Tells the networks on one host apart, in names of files and rules (hashed). Never changes for a network. */
  readonly id: string;
  /** The network that flannel has where nobody chose another: its rules have upstream's names. */
  readonly isUsual: boolean;
  /** For messages: `prefix /coreos.com/network`. */
  readonly description: string;
  /** The flag that names another one. */
  readonly flag: string;
}

export interface StoreIdentity {
  readonly network: NetworkIdentity;
  /** How leases of this store are remembered. */
  readonly leaseCodec: LeaseCodec;
}
