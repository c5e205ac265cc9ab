// The contract of keeping and losing a lease, and of what operators do to it, on a real store.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { DEADLINE_MS } from "../../lab/wait.ts";
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";
import type { LeaseAdministration } from "../../src/store/lease-administration.ts";
import type { SubnetStore } from "../../src/store/subnet-store.ts";
import { attributesOf, dualConfig, Follower, ipv4Config, never, requestOf } from "./fixture.ts";
import { type StoreWorld, startStoreWorld } from "./store-world.ts";

let world: StoreWorld;
let store: SubnetStore;
let administration: LeaseAdministration;

beforeAll(async () => {
  world = await startStoreWorld();
  store = await world.open();
  administration = await world.administer();
});

afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await administration[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

beforeEach(async () => {
  await world.clear();
});

const owner = { publicIp: parseAddress("192.0.2.1") };

async function acquire(publicIp = "192.0.2.1") {
  return (await store.acquire(requestOf(publicIp), never)).lease;
}

test("renewing what did not change writes nothing and extends the life", async () => {
  const lease = await acquire();
  const renewed = await store.renew(lease, lease.attributes, never);
  expect(renewed).toMatchObject({ revision: lease.revision, adapterData: lease.adapterData });
  expect(renewed.expiresAtMs).toBeGreaterThanOrEqual(lease.expiresAtMs!);
  expect(await world.read(lease.key)).toMatchObject({ revision: String(lease.revision) });
});

test("a renewed lease outlives its first time, an unrenewed one does not", async () => {
  await using short = await world.open({ ttlSeconds: 2 });
  await using follower = new Follower(store);
  let { lease } = await short.acquire(requestOf("192.0.2.1"), never);
  await short.acquire(requestOf("192.0.2.2"), never);
  await follower.until("both leases", () => follower.leases.size === 2);
  const end = performance.now() + DEADLINE_MS;
  while (follower.leases.size === 2 && performance.now() < end) {
    lease = await short.renew(lease, lease.attributes, never);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  expect([...follower.leases.keys()]).toEqual([lease.key]);
});

test("changed attributes are published in place", async () => {
  const lease = await acquire();
  const attributes = attributesOf("192.0.2.7", "02:00:00:00:00:07");
  const renewed = await store.renew(lease, attributes, never);
  expect(renewed).toMatchObject({ key: lease.key, attributes });
  expect((await store.list(never)).map(({ attributes: found }) => found)).toEqual([attributes]);
});

test("our key is gone: lease.lost", async () => {
  const lease = await acquire();
  await world.remove(lease.key);
  await expect(store.renew(lease, lease.attributes, never)).rejects.toMatchObject({ code: "LEASE_LOST" });
});

test("somebody else wrote our key: lease.conflict that names both", async () => {
  const lease = await acquire();
  await world.write({ [lease.key]: `{"PublicIP":"192.0.2.66","PublicIPv6":null}` });
  await expect(store.renew(lease, lease.attributes, never)).rejects.toMatchObject({
    code: "LEASE_CONFLICT",
    message: expect.stringMatching(/192\.0\.2\.1 .*02:00:00:00:00:01.* overwritten by 192\.0\.2\.66/),
    details: { ourPublicIp: "192.0.2.1", theirPublicIp: "192.0.2.66", sharesPublicIp: false },
  });
  await world.write({ [lease.key]: "\xff\xfe" });
  await expect(store.renew(lease, lease.attributes, never)).rejects.toMatchObject({ code: "LEASE_CONFLICT" });
});

test("a second agent with our public IP: the older one learns of it, even when both say the same", async () => {
  const older = await acquire();
  const newer = await acquire();
  expect(newer.key).toBe(older.key);
  await expect(store.renew(older, older.attributes, never)).rejects.toMatchObject({
    code: "LEASE_CONFLICT",
    details: { sharesPublicIp: true },
  });
  await store.renew(newer, newer.attributes, never);
});

test("an operator's reservation of our live lease and its release are followed", async () => {
  const lease = await acquire();
  const reserved = await administration.reserve({ config: ipv4Config, subnets: lease, owner }, never);
  expect(reserved.outcome).toBe("kept");
  const asReservation = await store.renew(lease, lease.attributes, never);
  expect(asReservation).toMatchObject({ isReservation: true, key: lease.key });
  expect(asReservation.expiresAtMs).toBeUndefined();
  expect(await administration.release(lease.key, {}, never)).toBe("expiring");
  const again = await store.renew(asReservation, lease.attributes, never);
  expect(again.isReservation).toBe(false);
  expect(again.expiresAtMs! - Date.now()).toBeGreaterThan(86_390_000);
});

test("reserve writes a key without expiry; its host takes it; nobody else can", async () => {
  const subnets = { subnet: parsePrefix("10.5.40.0/24") };
  const first = await administration.reserve({ config: ipv4Config, subnets, owner }, never);
  expect(first.outcome).toBe("created");
  expect(await world.read("10.5.40.0-24")).toMatchObject({
    value: '{"PublicIP":"192.0.2.1","PublicIPv6":null}',
    isReservation: true,
  });
  const second = await administration.reserve({ config: ipv4Config, subnets, owner }, never);
  expect(second.outcome).toBe("unchanged");
  const other = { publicIp: parseAddress("192.0.2.2") };
  const stolen = administration.reserve({ config: ipv4Config, subnets, owner: other }, never);
  await expect(stolen).rejects.toMatchObject({ code: "LEASE_CONFLICT", message: expect.stringContaining("192.0.2.1") });
  expect(await acquire()).toMatchObject({ key: "10.5.40.0-24", isReservation: true });
});

test("a reservation wins over another lease of the same host", async () => {
  const lease = await acquire();
  const subnet = lease.subnet === "10.5.40.0/24" ? parsePrefix("10.5.41.0/24") : parsePrefix("10.5.40.0/24");
  await administration.reserve({ config: ipv4Config, subnets: { subnet }, owner }, never);
  expect(await acquire()).toMatchObject({ subnet, isReservation: true });
});

test("what does not fit the network or overlaps a lease cannot be reserved", async () => {
  const reserve = (config: typeof ipv4Config, subnet: string) =>
    administration.reserve({ config, subnets: { subnet: parsePrefix(subnet) }, owner }, never);
  await expect(reserve(ipv4Config, "10.5.40.0/25")).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  await expect(reserve(ipv4Config, "10.9.40.0/24")).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  await expect(reserve(dualConfig, "10.5.40.0/24")).rejects.toMatchObject({
    message: expect.stringContaining("no IPv6 subnet"),
  });
  await world.write({ "10.5.40.128-25": `{"PublicIP":"192.0.2.9","PublicIPv6":null}` });
  await expect(reserve(ipv4Config, "10.5.40.0/24")).rejects.toMatchObject({ code: "LEASE_CONFLICT" });
});

test("release deletes a reservation nobody took, and a live lease only by force", async () => {
  const subnets = { subnet: parsePrefix("10.5.40.0/24") };
  await administration.reserve({ config: ipv4Config, subnets, owner }, never);
  expect(await administration.release("10.5.40.0-24", {}, never)).toBe("deleted");
  const lease = await acquire();
  await expect(administration.release(lease.key, {}, never)).rejects.toMatchObject({ code: "LEASE_CONFLICT" });
  expect(await administration.release(lease.key, { force: true }, never)).toBe("deleted");
  await expect(administration.release(lease.key, {}, never)).rejects.toMatchObject({ code: "LEASE_LOST" });
});

test("the network config is written by compare-and-set and watched", async () => {
  const abort = new AbortController();
  await expect(store.networkConfig(never)).rejects.toMatchObject({ code: "CONFIG_MISSING" });
  const first = await administration.setConfig('{"Network":"10.5.0.0/16"}', undefined, never);
  expect(await store.networkConfig(never)).toEqual(first);
  const late = administration.setConfig("{}", undefined, never);
  await expect(late).rejects.toMatchObject({ code: "CONFIG_CONFLICT" });
  const seen = store.watchNetworkConfig(first.revision, abort.signal)[Symbol.asyncIterator]();
  const next = seen.next();
  const second = await administration.setConfig('{"Network":"10.6.0.0/16"}', first.revision, never);
  expect((await next).value).toEqual(second);
  await world.removeConfig();
  expect((await seen.next()).value).toBeUndefined();
  abort.abort();
  expect((await seen.next()).done).toBe(true);
});
