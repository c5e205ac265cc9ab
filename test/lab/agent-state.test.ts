// The three states of an agent on a real kernel: what makes it degraded or not ready, and what probes are told of it.
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { until } from "../../lab/wait.ts";
import { probeHealth, Scene } from "../support/scene.ts";
import { agentRange, leaseKey, leaseValue, putConfig, putPeers, storePeer } from "../support/store-peers.ts";

const healthPort = 8099;
let scene: Scene;

beforeAll(async () => {
  scene = await Scene.open(1);
});

beforeEach(() => scene.clear());

afterAll(() => scene[Symbol.asyncDispose]());

const probe = (path: string) => probeHealth(scene.host(1), healthPort, path);
const start = () => scene.start(1, { args: [`--healthz-port=${healthPort}`] });

function untilState(agent: LabAgent, state: string): Promise<unknown> {
  return until(async () => (await agent.status()).state === state, { what: `state ${state}`, timeoutMs: 45_000 });
}

it("forwarding switched off is not ready, told after 10 s, and does not concern liveness", async () => {
  await putConfig(scene.etcd);
  const agent = start();
  await agent.untilReady();
  const { namespace } = scene.host(1);
  await namespace.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"]);
  const status = await agent.status();
  expect(status).toMatchObject({ state: "ready", pendingState: "notReady", reasons: [{ name: "forwarding-off" }] });
  expect((await probe("/readyz")).status).toBe(200);
  await until(async () => (await probe("/readyz")).status === 503, { what: "the change to last", timeoutMs: 45_000 });
  expect((await probe("/healthz")).status).toBe(200);
  expect(JSON.parse((await probe("/readyz?verbose")).text)).toMatchObject({
    state: "notReady",
    reasons: [{ name: "forwarding-off", message: expect.stringContaining("IPv4 forwarding is off") }],
  });
  expect(await agent.untilEvent("agent.not-ready")).toContain("IPv4 forwarding is off");
  await namespace.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  await untilState(agent, "ready");
  expect((await probe("/readyz")).status).toBe(200);
});

it("one host-gw peer off the link is degraded, and packets to the others flow", async () => {
  await putConfig(scene.etcd, { Network: "10.5.0.0/16", ...agentRange, Backend: { Type: "host-gw" } });
  const value = (publicIp: string) => JSON.stringify({ PublicIP: publicIp, BackendType: "host-gw" });
  const [near, far] = [storePeer(1), storePeer(2, { publicIp: "192.0.2.77" })];
  for (const peer of [near, far]) await scene.etcd.put(leaseKey(peer), value(peer.publicIp));
  const agent = start();
  await untilState(agent, "degraded");
  const status = await agent.status();
  expect(status.reasons).toMatchObject([{ name: "peer-failed", message: expect.stringContaining("192.0.2.77") }]);
  expect(status.failures).toMatchObject([{ scope: "peer" }]);
  expect(status.peers).toMatchObject({ desired: 2, programmed: 1 });
  expect(await probe("/readyz")).toEqual({ status: 200, text: "flanneld is ready" });
  expect(await agent.untilEvent("agent.degraded")).toContain("192.0.2.77");
  expect((await scene.ctl(agent, "wait", "--timeout", "0")).exitCode).toBe(0);
  expect((await scene.ctl(agent, "status")).exitCode).toBe(1);
});

it("a peer that cannot be used is degraded", async () => {
  await putConfig(scene.etcd);
  await putPeers(scene.etcd, [storePeer(1)]);
  const odd = storePeer(2);
  await scene.etcd.put(leaseKey(odd), leaseValue(odd).replace("vxlan", "wireguard"));
  const agent = start();
  await untilState(agent, "degraded");
  expect((await agent.status()).reasons).toMatchObject([{ name: "peer-skipped", message: "1 peer cannot be used" }]);
});

it("without a free file descriptor it repairs, answers and says so", async () => {
  await putConfig(scene.etcd);
  const agent = start();
  await agent.untilReady();
  const { namespace } = scene.host(1);
  const rules = async () => (await namespace.run(["iptables-save", "-t", "filter"])).includes("-j FLANNEL-FWD");
  const used = new Set(readdirSync(`/proc/${agent.pid}/fd`).map(Number));
  const firstFree = [...used.keys(), used.size].findIndex((_, number) => !used.has(number));
  const limitTo = (limit: number) => execFileSync("prlimit", ["--pid", String(agent.pid), `--nofile=${limit}:`]);
  const breakRule = () => namespace.run(["iptables", "-D", "FORWARD", "1"]);
  limitTo(firstFree);
  await breakRule();
  await until(rules, { what: "the rule again" });
  const look = async () => (await agent.status()).findings.some(({ name }) => name === "process-limits");
  await until(look, { what: "the finding" });
  expect((await probe("/healthz")).status).toBe(200);
  expect(await agent.untilEvent("descriptors.short")).toContain("nearly no file descriptor left");

  // So low that nothing helps: it waits for better times.
  limitTo(8);
  await breakRule();
  expect(await agent.untilEvent("firewall.failed")).toContain("no file descriptors left");
  limitTo(4096);
  await until(rules, { what: "the rule again" });
  await agent.untilEvent("descriptors.enough");
});
