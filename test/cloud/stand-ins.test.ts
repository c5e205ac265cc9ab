// The backends gce, ali-vpc and tencent-vpc against stand-ins that are written from the providers' public API documents:
// their adapters with the reconciler that all backends of clouds share. No real cloud was used.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { AliWorld } from "../../lab/cloud/ali-world.ts";
import { GceWorld } from "../../lab/cloud/gce-world.ts";
import { HttpProxy } from "../../lab/cloud/http-proxy.ts";
import type { CloudFault, ProviderWorld } from "../../lab/cloud/provider-world.ts";
import { TencentWorld } from "../../lab/cloud/tencent-world.ts";
import { tryRun } from "../../lab/command.ts";
import { Etcd } from "../../lab/etcd.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { RouteReconciler } from "../../src/cloud/route-reconciler.ts";
import { parsePrefix } from "../../src/ip/address.ts";
import { type Logger, silentLogger } from "../../src/telemetry/logger.ts";
import { everythingSaid } from "../support/everything-said.ts";

const SUBNET = "10.5.3.0/24";
const wish = {
  ...{ network: parsePrefix("10.5.0.0/16"), subnet: parsePrefix(SUBNET) },
  ...{ others: [parsePrefix("10.5.4.0/24")], isComplete: true },
};

const starts: readonly (readonly [string, () => Promise<ProviderWorld>])[] = [
  ["gce", () => GceWorld.start(9_101)],
  ["ali-vpc", () => AliWorld.start()],
  ["tencent-vpc", () => TencentWorld.start(9_102)],
];

beforeAll(() => boxNamespace.ip("address", "add", "100.100.100.200/32", "dev", "lo"));

describe.each(starts)("%s", (_, start) => {
  const resources = new AsyncDisposableStack();
  const lines: string[] = [];
  let world: ProviderWorld;
  let reconciler: RouteReconciler;
  let me: string;
  let other: string;

  const problem = () => reconciler.problem ?? "";
  const requestsSince = (from: number, name: string) =>
    world.requests.slice(from).filter((request) => request === name).length;

  /** Asks for looks until something holds. */
  const askUntil = (what: string, look: () => boolean) =>
    until(
      () => {
        if (look()) return true;
        reconciler.lookNow();
        return false;
      },
      { what: `${what}; problem: ${problem()}, trouble: ${reconciler.trouble}`, intervalMs: 200 },
    );

  /** A whole look that began after this call has ended well. */
  const lookAgain = async () => {
    const before = reconciler.looks.done;
    // The first one may have been under way.
    await askUntil("two looks", () => reconciler.looks.done > before + 1);
  };

  const untilInPlace = async () => {
    await askUntil("the route to be in place", () => reconciler.problem === undefined && world.routes()[SUBNET] === me);
    await lookAgain();
    expect(world.routes()[SUBNET]).toBe(me);
  };

  async function withFault<T>(fault: CloudFault, requests: readonly string[], work: () => Promise<T>): Promise<T> {
    world.fault = (request) => (requests.length === 0 || requests.includes(request) ? fault : undefined);
    try {
      return await work();
    } finally {
      world.fault = () => undefined;
    }
  }

  beforeAll(async () => {
    world = resources.use(await start());
    [me, other] = world.hosts;
    const write = (event: string, message: string, details: unknown = {}) =>
      void lines.push(`${event} ${message} ${JSON.stringify(details)}`);
    const logger: Logger = { error: write, warn: write, info: write, verbose: () => undefined };
    reconciler = resources.use(new RouteReconciler({ cloud: world.open(), logger, onChange: () => undefined }));
  });

  afterAll(() => resources.disposeAsync());

  it("waits for a metadata service that is away at boot", async () => {
    reconciler.setWish(wish);
    await until(() => reconciler.looks.failed > 0, { what: "a look" });
    expect(problem()).toMatch(/^http:\/\/\S+ does not answer/);
    expect(world.requests).toEqual([]);
    await world.startMetadata();
    await untilInPlace();
    expect(reconciler.facts?.tables).toEqual([world.table]);
  });

  it("puts right what somebody deleted or led elsewhere, among more routes than one page has", async () => {
    for (let index = 0; index < 20; index++) world.add(`10.77.${index}.0/24`, other);
    world.delete(SUBNET);
    await untilInPlace();
    world.add(SUBNET, other);
    await untilInPlace();
    expect(reconciler.repairs).toBe(2);
    expect(Object.keys(world.routes())).toHaveLength(21);
    for (let index = 0; index < 20; index++) world.delete(`10.77.${index}.0/24`);
  });

  it("removes a subnet that it had before, and leaves others alone", async () => {
    world.add("10.5.8.0/24", me);
    world.add("10.5.4.0/24", other);
    world.add("10.9.8.0/24", me);
    await untilInPlace();
    expect(world.routes()).toEqual({ [SUBNET]: me, "10.5.4.0/24": other, "10.9.8.0/24": me });
  });

  it("writes once while lists are behind, and is in place only when they show it", async () => {
    world.delete(SUBNET);
    world.isBehind = true;
    const from = world.requests.length;
    reconciler.lookNow();
    await until(() => problem().includes("does not list it yet"), { what: "the problem" });
    await until(() => requestsSince(from, world.names.list) > 3, { what: "more looks" });
    expect(requestsSince(from, world.names.create)).toBe(1);
    world.isBehind = false;
    await untilInPlace();
    expect(requestsSince(from, world.names.create)).toBe(1);
  });

  it.each<[CloudFault, RegExp]>([
    ["throttled", /takes no more requests now/],
    ["failing", /fails \(|does not answer/],
  ])("stays in place while the API is %s, and says so", async (fault, text) => {
    await withFault(fault, [], () => askUntil("the trouble", () => text.test(reconciler.trouble ?? "")));
    expect(reconciler.problem).toBeUndefined();
    await untilInPlace();
  });

  it("names the permission that is missing", async () => {
    world.delete(SUBNET);
    const permission = world.permissionOf(world.names.create);
    await withFault("denied", [world.names.create], () =>
      askUntil("the problem", () => problem().includes(`lacks ${permission}`)),
    );
    await untilInPlace();
  });

  it.each([50, 100])(
    "asks no more for a route in a table that is full with %d until another one goes",
    async (quota) => {
      world.delete(SUBNET);
      const count = () => Object.keys(world.routes()).length;
      for (let index = 0; count() < quota; index++) world.add(`10.77.${index}.0/24`, other);
      world.fault = (request) => (request === world.names.create && count() >= quota ? "full" : undefined);
      await askUntil("the problem", () => /is full with (\d+) routes/.test(problem()));
      // With routes of the provider's own, where it counts those.
      expect(Number(/with (\d+) routes/.exec(problem())?.[1]) - quota).toBeOneOf([0, 1]);
      const from = world.requests.length;
      await askUntil("more looks", () => requestsSince(from, world.names.list) > 4);
      expect(requestsSince(from, world.names.create)).toBe(0);
      world.delete("10.77.0.0/24");
      await untilInPlace();
      world.fault = () => undefined;
      for (let index = 0; index < quota; index++) world.delete(`10.77.${index}.0/24`);
    },
  );

  it("reads credentials anew that are not accepted any more, and shows none", async () => {
    const secrets = [...world.secrets()];
    world.keys.replace();
    await askUntil("the trouble", () => (reconciler.trouble ?? "").includes("not accept the"));
    await untilInPlace();
    const told = lines.join("\n");
    for (const secret of [...secrets, ...world.secrets()]) expect(told).not.toContain(secret);
    expect(told).not.toMatch(/Signature=|Bearer /);
  });

  it("has the next key of its role before the last one ends, without a look that fails", async () => {
    world.keys.replace(3_000);
    await askUntil("a key that ends", () => world.usedKey === world.keys.number && reconciler.trouble === undefined);
    const { failed } = reconciler.looks;
    world.keys.handOutNext();
    await askUntil("the next key", () => world.usedKey === world.keys.number);
    await lookAgain();
    expect(reconciler.looks.failed, lines.slice(-5).join("\n")).toBe(failed);
  });

  it("goes on with the key that it has while the metadata service is away, and needs no restart when that is back", async () => {
    world.keys.replace(120_000);
    await askUntil("a key that ends", () => world.usedKey === world.keys.number && reconciler.trouble === undefined);
    await world.stopMetadata();
    await lookAgain();
    world.keys.replace();
    await askUntil("the trouble", () => /does not answer|cannot be reached/.test(reconciler.trouble ?? ""));
    expect(reconciler.trouble).not.toMatch(/has no role|no credentials/);
    await world.startMetadata();
    await untilInPlace();
  });
});

function reconcilerOf(world: ProviderWorld): RouteReconciler {
  return new RouteReconciler({ cloud: world.open(), logger: silentLogger, onChange: () => undefined });
}

describe("gce alone", () => {
  it("removes black holes, knows the quota before, and names an instance that may not forward", async () => {
    await using world = await GceWorld.start(9_103);
    await world.startMetadata();
    const [, other] = world.hosts;
    world.add("10.5.200.0/24", other, "gone");
    world.add("10.9.200.0/24", other, "gone");
    world.canIpForward = false;
    world.quota = 2;
    await using reconciler = reconcilerOf(world);
    reconciler.setWish(wish);
    await until(
      () =>
        reconciler.problem?.includes("canIpForward") === true && reconciler.problem.includes("is full with 2 routes"),
      { what: "the problem" },
    );
    expect(world.routes()).toEqual({ "10.9.200.0/24": other });
    expect(world.requests).not.toContain("routes.insert");
    world.canIpForward = true;
    world.quota = 10;
    reconciler.lookNow();
    await until(() => reconciler.problem === undefined, { what: "the route" });
  });
});

describe("tencent-vpc alone", () => {
  it("knows the quota before, and asks for no route in a table that is full", async () => {
    await using world = await TencentWorld.start(9_106);
    await world.startMetadata();
    const [me, other] = world.hosts;
    world.add("10.9.8.0/24", other);
    world.add("10.9.9.0/24", other);
    world.quota = 2;
    await using reconciler = reconcilerOf(world);
    reconciler.setWish(wish);
    await until(() => reconciler.problem?.includes("is full with 2 routes") === true, { what: "the problem" });
    expect(reconciler.tables).toMatchObject([{ routeCount: 2, quota: 2 }]);
    expect(world.requests).not.toContain("CreateRoutes");
    world.quota = 3;
    reconciler.lookNow();
    await until(() => reconciler.problem === undefined, { what: "the route" });
    expect(world.routes()[SUBNET]).toBe(me);
  });
});

it.each([
  ["ali-vpc", () => AliWorld.start()],
  ["tencent-vpc", () => TencentWorld.start(9_106)],
] as const)("%s asks for the table where one answer does not show all", async (_, start) => {
  await using world = await start();
  await world.startMetadata();
  world.furtherTables = 200;
  await using cloud = world.open();
  await expect(cloud.facts(AbortSignal.timeout(60_000))).rejects.toThrow(
    /has more route tables than .* shows at once .*: set RouteTableID/,
  );
});

describe("whole agents", () => {
  const resources = new AsyncDisposableStack();
  let lan: Lan;
  let etcd: Etcd;

  beforeAll(async () => {
    lan = resources.use(await createLan({ hosts: 1 }));
    etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
  });

  afterAll(() => resources.disposeAsync());

  it.each<[string, (address: string) => Promise<ProviderWorld>, Readonly<Record<string, string>>]>([
    ["gce", (address) => GceWorld.start(9_104, address), {}],
    [
      "ali-vpc",
      (address) => AliWorld.start(address),
      { AccessKeyID: "STS.1", AccessKeySecret: "secret-of-the-config" },
    ],
    ["tencent-vpc", (address) => TencentWorld.start(9_105, address), { RouteTableID: "rtb-lab0" }],
  ])("%s leads the host's subnet to it, by way of a proxy, and shows no secret", async (Type, start, keys) => {
    await using world = await start(lan.storeAddress);
    await world.startMetadata();
    const prefix = `/${Type}`;
    await etcd.put(`${prefix}/config`, JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type, ...keys } }));
    const directory = `/run/flannel/${Type}`;
    await using proxy = await HttpProxy.start(lan.storeAddress);
    // The store's connections and the metadata service's are not for it.
    const env = { ...world.environment(), HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url };
    const options = { directory, env, args: [`--etcd-prefix=${prefix}`, "-v=6"] };
    await using agent = LabAgent.start(lan.host(1), { etcdEndpoints: etcd.endpoints, ...options });
    const status = await agent.untilReady();
    expect(new Set(proxy.origins).size).toBe(1);
    expect(proxy.origins[0]).toMatch(new RegExp(`^http://${lan.storeAddress}:`));
    expect(proxy.origins[0]).not.toBe(etcd.endpoints);
    const subnet = status.lease?.subnet ?? "";
    expect(world.routes()).toEqual({ [subnet]: world.hosts[0] });
    world.delete(subnet);
    const flannelctl = ["bin/flannelctl", "--socket", agent.controlSocket];
    expect(await tryRun([...flannelctl, "reload"])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^reloaded/),
    });
    await agent.untilEvent("cloud.repaired");
    expect(world.routes()).toEqual({ [subnet]: world.hosts[0] });
    const told = await everythingSaid(agent, {
      ...{ etcdEndpoints: etcd.endpoints, etcdPrefix: prefix, inReport: "cloud." },
    });
    expect(told).toContain(status.dataPlane?.features?.["instance"]);
    for (const secret of [...world.secrets(), "secret-of-the-config"]) expect(told).not.toContain(secret);
  });
});
