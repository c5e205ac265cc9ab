// What etcd adds to a lease: the revision of its last write, and the store lease that its key hangs on. Pure.
import { FlannelError } from "../errors.ts";
import type { Lease, LeaseAttributes, LeasedSubnets, Revision } from "../lease/lease.ts";

/** A revision of one etcd: all its writes are in one order. */
export class EtcdRevision implements Revision {
  readonly number: bigint;

  constructor(number: bigint) {
    this.number = number;
  }

  isAfter(other: Revision): boolean {
    return this.number > revisionNumber(other);
  }

  toString(): string {
    return this.number.toString();
  }
}

export interface EtcdLeaseFacts extends LeasedSubnets {
  readonly key: string;
  readonly attributes: LeaseAttributes;
  readonly revision: bigint;
  readonly createRevision: bigint;
  /** Id of the store's time-to-live lease that the key hangs on; 0n: the key never expires. */
  readonly storeLeaseId: bigint;
}

/** The adapter's data of a lease in etcd is its store lease's id. */
export function etcdLease({ revision, createRevision, storeLeaseId, ...lease }: EtcdLeaseFacts): Lease {
  return {
    ...lease,
    revision: new EtcdRevision(revision),
    createdAt: new EtcdRevision(createRevision),
    isReservation: storeLeaseId === 0n,
    adapterData: storeLeaseId,
  };
}

/** 0n: the key never expires. Throws `INTERNAL` for a lease that another adapter made. */
export function storeLeaseIdOf({ adapterData }: Pick<Lease, "adapterData">): bigint {
  if (typeof adapterData === "bigint") return adapterData;
  throw new FlannelError("INTERNAL", "the etcd store received a lease of another kind of store");
}

/** Throws `INTERNAL` for a revision that another adapter made. */
export function revisionNumber(revision: Revision): bigint {
  if (revision instanceof EtcdRevision) return revision.number;
  throw new FlannelError("INTERNAL", "the etcd store received a revision of another kind of store");
}
