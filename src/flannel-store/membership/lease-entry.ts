// A key of a cluster's store as the rights of hosts see it: which lease it is, which addresses it announces, who wrote it. Pure
// but for reading the store.
import { readLeaseRecord } from "../../etcd-api/lease-record.ts";
import type { LeaseAttributes, LeasedSubnets } from "../../lease/lease.ts";
import { tryParseLeaseKey } from "../../lease/lease-key.ts";
import { parseLeaseValue } from "../../lease/lease-value.ts";
import type { Database } from "../server/database.ts";
import { singleKey } from "../server/key-range.ts";
import { unframeKeyValues } from "../server/key-value-frames.ts";
import { Owners } from "../server/owners.ts";

export interface LeaseName {
  /** `/coreos.com/network/`: all keys of one network begin with it. */
  readonly root: string;
  /** `/coreos.com/network/subnets/` */
  readonly directory: string;
  /** `10.5.34.0-24` */
  readonly name: string;
  readonly subnets: LeasedSubnets;
}

export interface LeaseEntry extends LeaseName {
  readonly key: Uint8Array;
  /** 0n: a reservation, or another key that never expires. */
  readonly storeLeaseId: bigint;
  /** Announced; empty when the value is no lease's. */
  readonly addresses: readonly string[];
  /** Who wrote it, as far as the store knows. */
  readonly owner: string | undefined;
}

/** Undefined when the key is not the name of a lease. */
export function parseLeaseName(key: Uint8Array): LeaseName | undefined {
  const [, root, name] = /^((?:.*\/)?)subnets\/([^/]+)$/s.exec(Buffer.from(key).toString("latin1")) ?? [];
  const subnets = name === undefined ? undefined : tryParseLeaseKey(name);
  if (root === undefined || name === undefined || subnets === undefined) return undefined;
  return { root, directory: `${root}subnets/`, name, subnets };
}

/** Undefined when there is no such key, or it is not the name of a lease. */
export function readLeaseEntry(database: Database, key: Uint8Array): LeaseEntry | undefined {
  const name = parseLeaseName(key);
  const [kv] = name === undefined ? [] : unframeKeyValues(database.readCurrent(singleKey(key), 0n).frames);
  if (name === undefined || kv === undefined) return undefined;
  const { lease, storeLeaseId } = readLeaseRecord(kv, name.directory);
  const addresses = lease === undefined ? [] : announcedBy(lease.attributes);
  return { ...name, key, storeLeaseId, addresses, owner: new Owners(database).ofKey(key) };
}

export function announcedBy({ publicIp, publicIpv6 }: LeaseAttributes): string[] {
  return [publicIp, publicIpv6].filter((address) => address !== undefined);
}

/** Undefined when it is no lease's. */
export function tryParseValue(value: Uint8Array): LeaseAttributes | undefined {
  try {
    return parseLeaseValue(new TextDecoder("utf-8", { fatal: true }).decode(value));
  } catch {
    return undefined;
  }
}

/** In one family the very same subnet. */
export function sharesSubnet(a: LeasedSubnets, b: LeasedSubnets): boolean {
  const isSame = (one: string | undefined, other: string | undefined) => one !== undefined && one === other;
  return isSame(a.subnet, b.subnet) || isSame(a.ipv6Subnet, b.ipv6Subnet);
}

/** For a message: printable and short. */
export function shownKey(key: Uint8Array): string {
  const text = Buffer.from(key)
    .toString("latin1")
    .replaceAll(/[^\x20-\x7e]/g, "?");
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
