// A metadata service that takes packets and answers none for more than a minute after a boot, as where its route comes late: the
// agent says so once, waits, and goes on by itself.
import { afterAll, beforeAll, expect, it } from "vitest";
import { LabAgent } from "../../../lab/agent.ts";
import { TencentWorld } from "../../../lab/cloud/tencent-world.ts";
import { Etcd } from "../../../lab/etcd.ts";
import { createLan, type Lan } from "../../../lab/lan.ts";
import { until } from "../../../lab/wait.ts";

const AWAY_MS = 60_000;
const resources = new AsyncDisposableStack();
let lan: Lan;
let etcd: Etcd;

beforeAll(async () => {
  lan = resources.use(await createLan({ hosts: 1 }));
  etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
});

afterAll(() => resources.disposeAsync());

it("waits for it, for more than two looks and over a minute", async () => {
  const world = resources.use(await TencentWorld.start(9_102, lan.storeAddress));
  const { namespace } = lan.host(1);
  const drop = ["OUTPUT", "-p", "tcp", "--dport", "9102", "-j", "DROP"];
  await namespace.run(["iptables", "-A", ...drop]);
  await etcd.put("/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"tencent-vpc"}}');
  await world.startMetadata();
  const agent = resources.use(LabAgent.start(lan.host(1), { etcdEndpoints: etcd.endpoints, env: world.environment() }));
  const line = await agent.untilEvent("cloud.failed");
  expect(line).toContain(":9102 does not answer: no answer within 3 s");
  const started = performance.now();
  const looksFailed = async () => (await agent.metric("flannel_cloud_looks_total"))["result=failed"] ?? 0;
  await until(async () => performance.now() - started > AWAY_MS && (await looksFailed()) > 2, {
    what: "more than two failed looks, and more than a minute",
    timeoutMs: 2 * AWAY_MS,
  });
  expect(agent.events("cloud.failed")).toHaveLength(1);
  expect((await agent.status()).state).toBe("notReady");
  expect(world.requests).toEqual([]);
  await namespace.run(["iptables", "-D", ...drop]);
  const { lease } = await agent.untilReady({ timeoutMs: 2 * AWAY_MS });
  expect(world.routes()).toEqual({ [lease?.subnet ?? ""]: world.hosts[0] });
  expect(agent.events("cloud.failed.recovered")).toHaveLength(1);
  expect(agent.events("cloud.failed")).toHaveLength(1);
});
