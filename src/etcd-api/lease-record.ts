// One key of the lease directory as it came from etcd, read as far as it can be read. Pure.
import type { Lease, LeasedSubnets, LeaseEvent, UnreadableLease } from "../lease/lease.ts";
import { tryParseLeaseKey } from "../lease/lease-key.ts";
import { parseLeaseValue } from "../lease/lease-value.ts";
import { type Event, Event_EventType, type KeyValue } from "./etcd.ts";
import { EtcdRevision, etcdLease } from "./etcd-lease.ts";

export interface LeaseRecord {
  /** The part of the key after the directory; made printable when it is not a lease name. */
  readonly key: string;
  /** Readable from the name alone: the subnet counts as taken even when the value is garbage. */
  readonly subnets?: LeasedSubnets;
  /** Missing when the name or the value is unreadable. */
  readonly lease?: Lease;
  /** Why `lease` is missing. */
  readonly reason?: string;
  readonly createRevision: bigint;
  readonly revision: bigint;
  /** Number of writes since the key was created. */
  readonly version: bigint;
  readonly storeLeaseId: bigint;
}

const MAX_SHOWN_KEY = 100;
const decoder = new TextDecoder("utf-8", { fatal: true });

/** What can be read without the value. `directory`: the key up to and including the last slash. */
export function readLeaseStamp(
  { key, createRevision, modRevision: revision, version, lease: storeLeaseId }: KeyValue,
  directory: string,
): Omit<LeaseRecord, "subnets" | "lease" | "reason"> {
  return { key: leaseKeyOf(key, directory), createRevision, revision, version, storeLeaseId };
}

/** @param directory the key up to and including the last slash */
export function readLeaseRecord(kv: KeyValue, directory: string): LeaseRecord {
  const record = readLeaseStamp(kv, directory);
  const { key, revision, createRevision, storeLeaseId } = record;
  const subnets = tryParseLeaseKey(key);
  if (subnets === undefined) return { ...record, reason: "the key is not the name of a subnet" };
  try {
    const attributes = parseLeaseValue(decoder.decode(kv.value));
    return {
      ...record,
      subnets,
      lease: etcdLease({ ...subnets, key, attributes, revision, createRevision, storeLeaseId }),
    };
  } catch (error) {
    return { ...record, subnets, reason: error instanceof RangeError ? error.message : "value is not UTF-8 text" };
  }
}

/** What a watch event says about leases: exactly one of the first two is set. */
export function readLeaseEvent(
  event: Event,
  directory: string,
): { readonly event?: LeaseEvent; readonly unreadable?: UnreadableLease; readonly record?: LeaseRecord } {
  const { kv } = event;
  if (kv === undefined) return {};
  if (event.type === Event_EventType.DELETE) {
    return {
      event: { type: "delete", key: leaseKeyOf(kv.key, directory), revision: new EtcdRevision(kv.modRevision) },
    };
  }
  const record = readLeaseRecord(kv, directory);
  const { key, lease, reason = "" } = record;
  return { record, ...(lease === undefined ? { unreadable: { key, reason } } : { event: { type: "put", lease } }) };
}

/** Printable and short. A text that was changed cannot be taken for a lease name: those have neither `?` nor `…`. */
function leaseKeyOf(key: Uint8Array, directory: string): string {
  const text = Buffer.from(key.subarray(Buffer.byteLength(directory))).toString("latin1");
  const printable = text.replaceAll(/[^\x20-\x7e]/g, "?");
  return printable.length > MAX_SHOWN_KEY ? `${printable.slice(0, MAX_SHOWN_KEY)}…` : printable;
}
