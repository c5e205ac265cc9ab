// Leases of an etcd as the state directory keeps them: the value as in etcd, 64-bit numbers as decimal text. Pure.
// Agents of other versions read these entries too: their fields stay as they are.
import { etcdLease, revisionNumber, storeLeaseIdOf } from "../../etcd-api/etcd-lease.ts";
import type { Lease, LeaseCodec } from "../../lease/lease.ts";
import { tryParseLeaseKey } from "../../lease/lease-key.ts";
import { formatLeaseValue, parseLeaseValue } from "../../lease/lease-value.ts";

export const etcdLeaseCodec: LeaseCodec = {
  serialise: (lease) => ({
    key: lease.key,
    value: formatLeaseValue(lease.attributes),
    revision: revisionNumber(lease.revision).toString(),
    storeLeaseId: storeLeaseIdOf(lease).toString(),
    ...(lease.revision.isAfter(lease.createdAt) && { createRevision: revisionNumber(lease.createdAt).toString() }),
  }),
  tryParse,
};

function tryParse(entry: Readonly<Record<string, unknown>>): Lease | undefined {
  const { key, value, revision, createRevision, storeLeaseId } = entry;
  if (typeof key !== "string" || typeof value !== "string" || !isDecimal(revision) || !isDecimal(storeLeaseId)) {
    return undefined;
  }
  const subnets = tryParseLeaseKey(key);
  if (subnets === undefined) return undefined;
  try {
    const attributes = parseLeaseValue(value);
    return etcdLease({
      key,
      ...subnets,
      attributes,
      revision: BigInt(revision),
      // Missing where nothing was written since, and in what earlier versions wrote.
      createRevision: BigInt(isDecimal(createRevision) ? createRevision : revision),
      storeLeaseId: BigInt(storeLeaseId),
    });
  } catch {
    return undefined;
  }
}

function isDecimal(value: unknown): value is string {
  return typeof value === "string" && /^\d{1,20}$/.test(value);
}
