// The contract of taking leases, on a real store: whose subnet, which subnet, and never the same one twice.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { makePrefix, parseAddress, parsePrefix, prefixAddress } from "../../src/ip/address.ts";
import { addToAddress } from "../../src/ip/prefix.ts";
import { freeSubnets } from "../../src/lease/allocator.ts";
import type { LeaseAttributes } from "../../src/lease/lease.ts";
import type { LeaseAdministration } from "../../src/store/lease-administration.ts";
import type { SubnetStore } from "../../src/store/subnet-store.ts";
import { attributesOf, dualConfig, Follower, ipv4Config, ipv6Config, never, requestOf } from "./fixture.ts";
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

const reservation = `{"PublicIP":"192.0.2.1","PublicIPv6":null}`;

test("a first lease is written exactly as upstream writes it, for 24 hours", async () => {
  const { lease, outcome } = await store.acquire(requestOf("192.0.2.1"), never);
  expect(outcome).toBe("allocated");
  expect(lease.key).toMatch(/^10\.5\.\d+\.0-24$/);
  const written = await world.read(lease.key);
  expect(written?.value).toBe(
    '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}',
  );
  expect(written).toMatchObject({ isReservation: false, revision: String(lease.revision) });
  const ttl = await administration.timeToLive([lease], never);
  expect(ttl.get(lease.key)).toBeGreaterThan(86_390);
  expect(lease.expiresAtMs! - Date.now()).toBeGreaterThan(86_390_000);
});

test("a lease with our public IP is reused in place, with what we announce now", async () => {
  const first = await store.acquire(requestOf("192.0.2.1"), never);
  const attributes = attributesOf("192.0.2.1", "02:00:00:00:00:99");
  const second = await store.acquire(requestOf("192.0.2.1", { attributes }), never);
  expect(second.outcome).toBe("reused");
  expect(second.lease.key).toBe(first.lease.key);
  expect((await store.list(never)).map(({ attributes: found }) => found)).toEqual([attributes]);
});

test("a lease of ours that does not fit the network config is deleted and replaced", async () => {
  await world.write({ "10.9.1.0-24": reservation });
  const { lease, outcome } = await store.acquire(requestOf("192.0.2.1"), never);
  expect(outcome).toBe("allocated");
  expect((await store.list(never)).map(({ key }) => key)).toEqual([lease.key]);
});

test("the previous subnet is taken when it is free and fits", async () => {
  const previous = { subnet: parsePrefix("10.5.77.0/24") };
  const { lease, outcome } = await store.acquire(requestOf("192.0.2.1", { previous }), never);
  expect([lease.key, outcome]).toEqual(["10.5.77.0-24", "previous"]);
});

test("a new subnet leaves out what hosts use themselves, in both families", async () => {
  const [ipv4, ipv6] = [dualConfig.ipv4, dualConfig.ipv6];
  if (ipv4 === undefined || ipv6 === undefined) throw new Error("the configuration has both families");
  const [first, second] = freeSubnets(ipv4, [], 2);
  const [firstV6, secondV6] = freeSubnets(ipv6, [], 2);
  const pools = {
    ipv4: { ...ipv4, subnetMax: prefixAddress(second!) },
    ipv6: { ...ipv6, subnetMax: prefixAddress(secondV6!) },
  };
  const config = { ...dualConfig, ...pools };
  // A host of another lease has an address in the first subnet, this one an interface in the first of IPv6.
  await world.write({ "10.5.200.0-24": `{"PublicIP":"${addToAddress(prefixAddress(first!), 7n)}","PublicIPv6":null}` });
  const avoid = [makePrefix(addToAddress(prefixAddress(firstV6!), 1n), 80), parsePrefix("192.0.2.0/24")];
  const dual = { publicIp: parseAddress("192.0.2.1"), publicIpv6: parseAddress("2001:db8::1") };
  const attributes = { ...attributesOf("192.0.2.1"), ...dual };
  const previous = { subnet: first!, ipv6Subnet: secondV6! };
  const { lease } = await store.acquire(requestOf("192.0.2.1", { config, attributes, avoid, previous }), never);
  expect([lease.subnet, lease.ipv6Subnet]).toEqual([second, secondV6]);
  const others = requestOf("192.0.2.2", { config, attributes: attributesOf("192.0.2.2"), avoid });
  await expect(store.acquire(others, never)).rejects.toMatchObject({
    code: "POOL_EXHAUSTED",
    message: expect.stringContaining("besides what hosts and the store use themselves"),
  });
});

describe("what is held", () => {
  const held = { subnet: parsePrefix("10.5.77.0/24") };
  const request = () => requestOf("192.0.2.1", { held, previous: held });

  test("is taken again when it is free", async () => {
    expect((await store.acquire(request(), never)).lease.key).toBe("10.5.77.0-24");
  });

  test.each(["10.5.77.0-24", "10.5.77.128-25", "10.5.76.0-22", "10.5.77.0-24&fd00:5::-64"])(
    "is not exchanged for another subnet when another host has %s",
    async (key) => {
      await world.write({ [key]: `{"PublicIP":"192.0.2.9","PublicIPv6":null}` });
      await expect(store.acquire(request(), never)).rejects.toMatchObject({
        code: "LEASE_CONFLICT",
        message: expect.stringMatching(/10\.5\.77\.0\/24 of this host, 192\.0\.2\.1 .* belongs to 192\.0\.2\.9 now/),
      });
      expect((await store.list(never)).map((lease) => lease.key)).toEqual([key]);
    },
  );
});

test("a lease keeps the revision it was created at", async () => {
  const { lease } = await store.acquire(requestOf("192.0.2.1"), never);
  const renewed = await store.renew(lease, attributesOf("192.0.2.1", "02:00:00:00:00:99"), never);
  expect([lease.createdAt, renewed.createdAt].map(String)).toEqual([String(lease.revision), String(lease.revision)]);
  expect(renewed.revision.isAfter(lease.revision)).toBe(true);
  const [listed] = await store.list(never);
  expect(String(listed?.createdAt)).toBe(String(lease.revision));
  const again = await store.acquire(requestOf("192.0.2.1"), never);
  expect(String(again.lease.createdAt)).toBe(String(lease.revision));
});

test.each([
  ["somebody has it", { "10.5.77.0-24": `{"PublicIP":"192.0.2.9","PublicIPv6":null}` }, "10.5.77.0/24"],
  ["somebody has a part of it", { "10.5.77.128-28": `{"PublicIP":"192.0.2.9","PublicIPv6":null}` }, "10.5.77.0/24"],
  ["its key holds garbage", { "10.5.77.0-24": "{{{" }, "10.5.77.0/24"],
  ["it is outside the network", {}, "10.9.77.0/24"],
])("the previous subnet is not taken when %s", async (_why, keys, previous) => {
  await world.write({ garbage: "x", ...keys });
  const request = requestOf("192.0.2.1", { previous: { subnet: parsePrefix(previous) } });
  const { lease, outcome } = await store.acquire(request, never);
  expect(outcome).toBe("allocated");
  expect(lease.subnet).not.toBe(previous);
  expect(lease.subnet).toMatch(/^10\.5\./);
});

/** What the vxlan backend would say of a lease with our MAC. */
const hasOurMac = ({ backendData }: LeaseAttributes) =>
  JSON.stringify(backendData) === JSON.stringify(attributesOf("192.0.2.1").backendData);

test("the remembered lease is taken over after a change of address, by what the store knows it by or by identity", async () => {
  const { lease: old } = await store.acquire(requestOf("192.0.2.1"), never);
  const byId = { key: old.key, adapterData: old.adapterData, matches: () => false };
  const first = await store.acquire(requestOf("192.0.2.2", { remembered: byId }), never);
  expect([first.outcome, first.lease.key]).toEqual(["remembered", old.key]);
  const byIdentity = { key: old.key, adapterData: 1n, matches: hasOurMac };
  const second = await store.acquire(requestOf("192.0.2.3", { remembered: byIdentity }), never);
  expect([second.outcome, second.lease.key]).toEqual(["remembered", old.key]);
  expect((await store.list(never)).map(({ attributes }) => attributes.publicIp)).toEqual(["192.0.2.3"]);
});

test("a remembered lease that somebody else holds by now stays theirs", async () => {
  const { lease: old } = await store.acquire(requestOf("192.0.2.1"), never);
  const attributes = attributesOf("192.0.2.1", "02:00:00:00:00:42");
  await store.acquire(requestOf("192.0.2.1", { attributes }), never);
  const remembered = { key: old.key, adapterData: old.adapterData, matches: hasOurMac };
  const { lease, outcome } = await store.acquire(requestOf("192.0.2.2", { remembered }), never);
  expect(outcome).toBe("allocated");
  expect(lease.key).not.toBe(old.key);
});

/** Remembered by its key and MAC alone, as after a restart in which the store lost everything else. */
const rememberedAs = (key: string) => ({ key, adapterData: undefined, matches: hasOurMac });
const deadHost =
  '{"PublicIP":"192.0.2.100","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:42"}}';

/** Keys of subnets beside our own, which is any of the network. */
function keysBeside(own: string): readonly [string, string] {
  const [first = "", second = ""] = ["10.5.200.0-24", "10.5.201.0-24", "10.5.202.0-24"].filter((key) => key !== own);
  return [first, second];
}

describe("a public IP that moved here does not outweigh what is remembered", () => {
  test("the lease of a dead host whose floating address we announce stays", async () => {
    const { lease: own } = await store.acquire(requestOf("192.0.2.1"), never);
    const [other] = keysBeside(own.key);
    await world.write({ [other]: deadHost });
    for (const remembered of [{ ...rememberedAs(own.key), adapterData: own.adapterData }, rememberedAs(own.key)]) {
      const floating = requestOf("192.0.2.100", { remembered });
      const { lease } = await store.acquire(floating, never);
      expect(lease.key).toBe(own.key);
    }
    expect((await world.read(other))?.value).toBe(deadHost);
  });

  test("it is not deleted either when neither lease fits the configuration", async () => {
    await world.write({ "10.9.1.0-24": deadHost, "10.9.2.0-24": deadHost.replace("00:42", "00:01") });
    const { outcome } = await store.acquire(
      requestOf("192.0.2.100", { remembered: rememberedAs("10.9.2.0-24") }),
      never,
    );
    expect(outcome).toBe("allocated");
    expect(await world.read("10.9.1.0-24")).toBeDefined();
    expect(await world.read("10.9.2.0-24")).toBeUndefined();
  });

  test("it is taken when nothing of ours is left, as upstream does", async () => {
    await world.write({ "10.5.200.0-24": deadHost });
    const request = requestOf("192.0.2.100", { remembered: rememberedAs("10.5.7.0-24") });
    const { lease, outcome } = await store.acquire(request, never);
    expect([lease.key, outcome]).toEqual(["10.5.200.0-24", "reused"]);
  });

  test("a reservation that waits for this host comes first, one that another host uses does not", async () => {
    const { lease: own } = await store.acquire(requestOf("192.0.2.1"), never);
    const [used, waiting] = keysBeside(own.key);
    await world.write({ [used]: deadHost.replace("192.0.2.100", "192.0.2.1") });
    const request = requestOf("192.0.2.1", { remembered: rememberedAs(own.key) });
    expect((await store.acquire(request, never)).lease.key).toBe(own.key);
    await world.write({ [waiting]: reservation });
    expect((await store.acquire(request, never)).lease.key).toBe(waiting);
  });
});

describe("when a family is turned on or off", () => {
  const dualAttributes = (host: number) => ({
    ...attributesOf(`192.0.2.${host}`, `02:00:00:00:00:${host.toString(16).padStart(2, "0")}`),
    publicIpv6: parseAddress(`2001:db8::${host}`),
    backendV6Data: { VNI: 1, VtepMAC: `02:00:00:00:01:${host.toString(16).padStart(2, "0")}` },
  });
  const dual = (more: Partial<Parameters<SubnetStore["acquire"]>[0]> = {}) => ({
    config: dualConfig,
    attributes: dualAttributes(1),
    ...more,
  });

  test("the other family's subnet stays, and the key changes in one transaction", async () => {
    const { lease: before } = await store.acquire(requestOf("192.0.2.1"), never);
    await using follower = new Follower(store);
    await follower.until("the lease", () => follower.leases.size === 1);
    const { lease: both, outcome } = await store.acquire(dual(), never);
    expect(outcome).toBe("reused");
    expect(both.subnet).toBe(before.subnet);
    expect(both.ipv6Subnet).toMatch(/^fd00:/);
    await follower.until("its new key", () => follower.leases.has(both.key));
    const change = follower.changes.findLast(({ type }) => type === "changes");
    expect(change).toMatchObject({ changes: [{ type: "delete", key: before.key }, { type: "put" }] });
    expect((await store.list(never)).map(({ key }) => key)).toEqual([both.key]);
    const { lease: after } = await store.acquire(requestOf("192.0.2.1"), never);
    expect(after.key).toBe(before.key);
    expect((await store.list(never)).map(({ key }) => key)).toEqual([before.key]);
  });

  test("a reservation stays one", async () => {
    await world.write({ "10.5.3.0-24": reservation });
    const { lease } = await store.acquire(dual(), never);
    expect(lease).toMatchObject({ subnet: "10.5.3.0/24", isReservation: true });
    expect(await world.read(lease.key)).toMatchObject({ isReservation: true });
  });

  test("the previous subnet of one family is taken when it is free", async () => {
    const previous = { subnet: parsePrefix("10.5.77.0/24"), ipv6Subnet: parsePrefix("fd77::/64") };
    const { lease, outcome } = await store.acquire(dual({ previous }), never);
    expect([lease.subnet, outcome]).toEqual(["10.5.77.0/24", "previous"]);
    expect(lease.ipv6Subnet).toMatch(/^fd00:/);
  });

  test("a host without an IPv6 address leases IPv4 alone, and keeps the IPv6 subnet that it had", async () => {
    const families = new Set([4] as const);
    const ipv4Only = { config: dualConfig, attributes: attributesOf("192.0.2.1"), families };
    const { lease } = await store.acquire(ipv4Only, never);
    expect(lease.key).toMatch(/^10\.5\.\d+\.0-24$/);
    const { lease: both } = await store.acquire(dual(), never);
    expect(both.subnet).toBe(lease.subnet);
    const { lease: kept } = await store.acquire(ipv4Only, never);
    expect(kept).toMatchObject({ key: both.key, attributes: dualAttributes(1) });
  });

  test("hosts that do so at the same moment share no subnet", async () => {
    const hosts = Array.from({ length: 12 }, (_, index) => index + 1);
    const few = { ...dualConfig, ipv6: { ...dualConfig.ipv6!, subnetMax: parseAddress("fd00:0:0:10::") } };
    const before = await Promise.all(hosts.map((host) => store.acquire(requestOf(`192.0.2.${host}`), never)));
    const stores = await Promise.all(hosts.map(() => world.open()));
    const request = (host: number) => dual({ config: few, attributes: dualAttributes(host) });
    const after = await Promise.all(
      stores.map((each, index) => each.acquire(request(hosts[index] ?? 0), AbortSignal.timeout(60_000))),
    );
    await Promise.all(stores.map((each) => each[Symbol.asyncDispose]()));
    expect(after.map(({ lease }) => lease.subnet)).toEqual(before.map(({ lease }) => lease.subnet));
    expect(new Set(after.map(({ lease }) => lease.ipv6Subnet)).size).toBe(12);
    expect(await store.list(never)).toHaveLength(12);
  });
});

test("a reservation stays one when its host comes", async () => {
  await world.write({ "10.5.3.0-24": reservation });
  const { lease, outcome } = await store.acquire(requestOf("192.0.2.1"), never);
  expect(outcome).toBe("reused");
  expect(lease).toMatchObject({ key: "10.5.3.0-24", isReservation: true });
  expect(lease.expiresAtMs).toBeUndefined();
  expect(await world.read("10.5.3.0-24")).toMatchObject({ isReservation: true });
  const renewed = await store.renew(lease, lease.attributes, never);
  expect(renewed).toEqual(lease);
});

test("dual stack and IPv6-only leases have upstream's key names", async () => {
  const owner = { publicIpv6: parseAddress("2001:db8::1") };
  const dual = await store.acquire(
    { config: dualConfig, attributes: { ...attributesOf("192.0.2.1"), ...owner } },
    never,
  );
  expect(dual.lease.key).toMatch(/^10\.5\.\d+\.0-24&fd00:0:0:[\da-f]+::-64$/);
  const ipv6 = await store.acquire({ config: ipv6Config, attributes: { ...owner, backendType: "vxlan" } }, never);
  expect(ipv6.lease.key).toMatch(/^0\.0\.0\.0-0&fd00:0:0:[\da-f]+::-64$/);
  const found = await world.read(ipv6.lease.key);
  expect(found?.value).toBe('{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1","BackendType":"vxlan"}');
  const again = await store.acquire({ config: ipv6Config, attributes: { ...owner, backendType: "vxlan" } }, never);
  expect([again.outcome, again.lease.key]).toEqual(["reused", ipv6.lease.key]);
});

test("subnet space exhausted: a clear error that may be retried, and success once a subnet is free", async () => {
  const config = { ...ipv4Config, ipv4: { ...ipv4Config.ipv4!, subnetMax: parseAddress("10.5.2.0") } };
  const other = (ip: string) => `{"PublicIP":"${ip}","PublicIPv6":null}`;
  await world.write({ "10.5.1.0-24": other("192.0.2.8"), "10.5.2.0-24": "garbage" });
  await expect(store.acquire(requestOf("192.0.2.1", { config }), never)).rejects.toMatchObject({
    code: "POOL_EXHAUSTED",
    retryable: true,
    message: expect.stringContaining(
      "2 leases hold all /24 in 10.5.0.0/16 (10.5.1.0 to 10.5.2.0); revoke one or enlarge Network",
    ),
  });
  await world.remove("10.5.2.0-24");
  const { lease } = await store.acquire(requestOf("192.0.2.1", { config }), never);
  expect(lease.key).toBe("10.5.2.0-24");
});

describe("concurrency", () => {
  test("200 hosts starting at once all get distinct subnets in under 10 s", async () => {
    const before = await world.grants();
    const stores = await Promise.all(Array.from({ length: 200 }, () => world.open()));
    const startedMs = performance.now();
    const acquired = await Promise.all(
      stores.map((each, index) => each.acquire(requestOf(`192.0.2.${index + 1}`), never)),
    );
    const tookMs = performance.now() - startedMs;
    await Promise.all(stores.map((each) => each[Symbol.asyncDispose]()));
    expect(new Set(acquired.map(({ lease }) => lease.key)).size).toBe(200);
    expect(await store.list(never)).toHaveLength(200);
    expect(tookMs).toBeLessThan(60_000);
    // Grants of lost races were given back.
    expect((await world.grants()) - before).toBe(200);
  });

  test("no two dual-stack hosts overlap in either family, though their keys differ", async () => {
    const few = { ...dualConfig, ipv4: { ...dualConfig.ipv4!, subnetMax: parseAddress("10.5.16.0") } };
    const config = { ...few, ipv6: { ...few.ipv6!, subnetMax: parseAddress("fd00:0:0:10::") } };
    const stores = await Promise.all(Array.from({ length: 16 }, () => world.open()));
    const acquired = await Promise.all(
      stores.map((each, index) =>
        each
          .acquire(requestOf(`192.0.2.${index + 1}`, { config }), AbortSignal.timeout(60_000))
          .catch((error: unknown) => error),
      ),
    );
    await Promise.all(stores.map((each) => each[Symbol.asyncDispose]()));
    const leases = await store.list(never);
    expect(new Set(leases.map(({ subnet }) => subnet)).size).toBe(leases.length);
    expect(new Set(leases.map(({ ipv6Subnet }) => ipv6Subnet)).size).toBe(leases.length);
    const failed = acquired.filter((result) => result instanceof Error);
    for (const error of failed) expect(error).toMatchObject({ code: "POOL_EXHAUSTED" });
    expect(leases).toHaveLength(16 - failed.length);
  });

  test("a full pool that 16 hosts fight for goes to as many as fit", async () => {
    const config = { ...ipv4Config, ipv4: { ...ipv4Config.ipv4!, subnetMax: parseAddress("10.5.8.0") } };
    const results = await Promise.allSettled(
      Array.from({ length: 16 }, (_, index) => store.acquire(requestOf(`192.0.2.${index + 1}`, { config }), never)),
    );
    const won = results.filter((result) => result.status === "fulfilled");
    expect(new Set(won.map(({ value }) => value.lease.key)).size).toBe(8);
    for (const result of results) {
      if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "POOL_EXHAUSTED" });
    }
  });
});

test("cancelled at once when the signal aborts", async () => {
  const abort = new AbortController();
  const acquiring = store.acquire(requestOf("192.0.2.1"), abort.signal);
  abort.abort();
  await expect(acquiring).rejects.toMatchObject({ code: "CANCELLED" });
});
