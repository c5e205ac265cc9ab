import { describe, expect, it } from "vitest";
import { revision } from "../../../test/support/revision.ts";
import { etcdLease } from "../../etcd-api/etcd-lease.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import { etcdLeaseCodec } from "./lease-codec.ts";

const lease = etcdLease({
  key: "10.5.1.0-24",
  subnet: parsePrefix("10.5.1.0/24"),
  attributes: { publicIp: parseAddress("192.0.2.1"), backendType: "host-gw" },
  revision: 2n ** 62n,
  createRevision: 12n,
  storeLeaseId: 7_587_848_390_100_000_000n,
});

const text =
  '{"key":"10.5.1.0-24","value":"{\\"PublicIP\\":\\"192.0.2.1\\",\\"PublicIPv6\\":null,\\"BackendType\\":\\"host-gw\\"}",' +
  '"revision":"4611686018427387904","storeLeaseId":"7587848390100000000","createRevision":"12"}';

describe("etcdLeaseCodec", () => {
  it("writes what agents of all versions read, to the byte", () => {
    expect(JSON.stringify(etcdLeaseCodec.serialise(lease))).toBe(text);
    expect(etcdLeaseCodec.tryParse(JSON.parse(text))).toEqual(lease);
  });

  it("takes the last write for the first one where no other is kept", () => {
    const { createRevision: _, ...entry } = JSON.parse(text);
    expect(etcdLeaseCodec.tryParse(entry)).toEqual({ ...lease, createdAt: lease.revision });
  });

  it("knows a reservation by its missing store lease", () => {
    const reserved = etcdLeaseCodec.tryParse({ ...JSON.parse(text), storeLeaseId: "0" });
    expect(reserved).toEqual({ ...lease, isReservation: true, adapterData: 0n });
  });

  it.each([
    {},
    { key: "10.5.1.1-24" },
    { value: "{" },
    { revision: 5 },
    { revision: "-1" },
    { storeLeaseId: "1".repeat(21) },
    { storeLeaseId: undefined },
  ])("reads nothing from an entry with %j", (change) => {
    const entry = Object.keys(change).length === 0 ? {} : { ...JSON.parse(text), ...change };
    expect(etcdLeaseCodec.tryParse(entry)).toBeUndefined();
  });

  it("refuses the lease of another kind of store", () => {
    expect(() => etcdLeaseCodec.serialise({ ...lease, revision: revision(1) })).toThrow("another kind of store");
    expect(() => etcdLeaseCodec.serialise({ ...lease, adapterData: "7" })).toThrow("another kind of store");
  });
});
