// Takes the leases of a removed host out of the store, so that the others stop sending to it.

import { keySpaceOf } from "../../etcd-api/key-space.ts";
import { readLeaseRecord } from "../../etcd-api/lease-record.ts";
import type { EmbeddedStore } from "../server/embedded-store.ts";
import { rangeFromWire } from "../server/key-range.ts";
import { unframeKeyValues } from "../server/key-value-frames.ts";
import { Owners } from "../server/owners.ts";
import type { RemovedLeases } from "./cluster.ts";
import { addressesOf } from "./host-addresses.ts";
import { announcedBy } from "./lease-entry.ts";
import type { ClusterFacts, HostRecord } from "./member-file.ts";

/**
 * Deletes the leases that the host wrote, and those whose writer is not known or gone, reservations too, that announce an
 * address it has called from. An address that another host has called from as well (both behind one NAT) tells nothing:
 * those leases stay and the address is named.
 */
export async function removeLeases(
  store: EmbeddedStore,
  facts: ClusterFacts,
  removed: HostRecord,
  others: readonly HostRecord[],
): Promise<RemovedLeases> {
  const taken = new Set(others.flatMap((host) => addressesOf(host.addresses, facts)));
  const seen = new Set(addressesOf(removed.addresses, facts));
  const members = new Set(others.map(({ keyPin }) => keyPin));
  const { directory, directoryRange } = keySpaceOf(facts.etcdPrefix);
  const { leases, shared } = await store.write((writer) => {
    const owners = new Owners(writer.database);
    const { frames } = writer.read(rangeFromWire(directoryRange.start, directoryRange.end), 0n);
    const leased = unframeKeyValues(frames).map((kv) => {
      const { key: name, lease } = readLeaseRecord(kv, directory);
      const announced = lease === undefined ? [] : announcedBy(lease.attributes);
      const owner = owners.ofKey(kv.key);
      const fromThere = owner !== undefined && members.has(owner) ? [] : announced.filter((one) => seen.has(one));
      const isFound = owner === removed.keyPin || fromThere.some((address) => !taken.has(address));
      return { key: kv.key, name, isFound, shared: fromThere.filter((address) => taken.has(address)) };
    });
    const found = leased.filter(({ isFound }) => isFound);
    // In a network beside the cluster's own, too.
    const keys = new Map(
      [...found.map(({ key }) => key), ...owners.keysOf(removed.keyPin)].map((key) => [hex(key), key]),
    );
    for (const key of keys.values()) writer.deleteKey(key);
    const left = leased.filter(({ isFound }) => !isFound);
    return { leases: found.map(({ name }) => name), shared: left.flatMap((entry) => entry.shared) };
  });
  return { leases, sharedAddresses: [...new Set(shared)], pendingReason: "" };
}

function hex(key: Uint8Array): string {
  return Buffer.from(key).toString("hex");
}
