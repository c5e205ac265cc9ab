// How leases stand in etcd, besides what the contract of the port says: upstream's keys, on store leases.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { revisionNumber } from "../../src/etcd-api/etcd-lease.ts";
import { directory, never, openStore, requestOf } from "./fixture.ts";
import { EtcdWorld } from "./store-world.ts";

let world: EtcdWorld;

beforeAll(async () => {
  world = await EtcdWorld.start();
});

afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

beforeEach(async () => {
  await world.clear();
});

test("a lease hangs on the store lease that its adapter knows it by", async () => {
  await using store = await world.open();
  const { lease } = await store.acquire(requestOf("192.0.2.1"), never);
  const written = await world.raw.get(directory + lease.key);
  expect(written).toMatchObject({ lease: lease.adapterData, revision: revisionNumber(lease.revision) });
});

test("keys beside the lease directory are not ours", async () => {
  await using store = await world.open();
  const reservation = `{"PublicIP":"192.0.2.1","PublicIPv6":null}`;
  await world.raw.put({
    "/coreos.com/network/subnets_backup/10.5.1.0-24": reservation,
    "/coreos.com/network/subnets": "x",
  });
  expect(await store.list(never)).toEqual([]);
});

test("a prefix is cleaned as upstream cleans it", async () => {
  await using other = await openStore(world.server.endpoints, { prefix: "//coreos.com//network/" });
  const { lease } = await other.acquire(requestOf("192.0.2.1"), never);
  expect(await world.raw.get(directory + lease.key)).toBeDefined();
});
