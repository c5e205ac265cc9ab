// Takes the leases of a removed host out of the store, so that the others stop sending to it.

import { keySpaceOf } from "../../etcd-api/key-space.ts";
import { readLeaseRecord } from "../../etcd-api/lease-record.ts";
import type { EmbeddedStore } from "../server/embedded-store.ts";
import { rangeFromWire } from "../server/key-range.ts";
import { unframeKeyValues } from "../server/key-value-frames.ts";
import type { RemovedLeases } from "./cluster.ts";
import type { ClusterFacts, HostRecord } from "./member-file.ts";

/**
 * Deletes the leases, reservations too, that announce an address the host has called from. An address that another host
 * has called from as well (both behind one NAT) tells nothing: those leases stay and the address is named.
 */
export async function removeLeases(
  store: EmbeddedStore,
  facts: ClusterFacts,
  removed: HostRecord,
  others: readonly HostRecord[],
): Promise<RemovedLeases> {
  const taken = new Set(others.flatMap((host) => addressesOf(host, facts)));
  const seen = [...new Set(addressesOf(removed, facts))];
  const addresses = new Set(seen.filter((address) => !taken.has(address)));
  const { directory, directoryRange } = keySpaceOf(facts.etcdPrefix);
  const { leases } = await store.write((writer) => {
    const { frames } = writer.read(rangeFromWire(directoryRange.start, directoryRange.end), 0n);
    const records = unframeKeyValues(frames).map((kv) => ({ key: kv.key, record: readLeaseRecord(kv, directory) }));
    const found = records.filter(({ record }) => {
      const { publicIp = "", publicIpv6 = "" } = record.lease?.attributes ?? {};
      return addresses.has(publicIp) || addresses.has(publicIpv6);
    });
    for (const { key } of found) writer.deleteKey(key);
    return { leases: found.map(({ record }) => record.key) };
  });
  return { leases, sharedAddresses: seen.filter((address) => taken.has(address)), pendingReason: "" };
}

/** One who calls over loopback is on the store's own host, which the others know by its addresses. */
function addressesOf(host: HostRecord, facts: ClusterFacts): readonly string[] {
  return host.addresses.flatMap((address) => (isLoopback(address) ? facts.addresses : [address]));
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}
