// What changes under a running agent: the network configuration in the store, and what SIGHUP reads again.
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { tryRun } from "../../lab/command.ts";
import { LabHost } from "../../lab/host.ts";
import { link, routes } from "../../lab/kernel-view.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { EtcdServer } from "../etcd/etcd-server.ts";
import { Pki } from "../etcd/pki.ts";
import { Scene } from "../support/scene.ts";
import {
  agentRange,
  configKey,
  leaseKey,
  leaseValue,
  linesOf,
  putConfig,
  putPeers,
  storePeer,
  untilPeers,
  vxlanConfig,
  vxlanLines,
} from "../support/store-peers.ts";

let scene: Scene;
let agent: LabAgent;

beforeAll(async () => {
  scene = await Scene.open(1);
});

afterAll(() => scene[Symbol.asyncDispose]());

const withBackend = (backend: object) => putConfig(scene.etcd, { ...vxlanConfig, ...agentRange, Backend: backend });
const device = () => link(agent.host.namespace, "flannel.1");
const configurationFinding = async () => (await agent.status()).findings.find(({ name }) => name === "configuration");

beforeEach(async () => {
  await scene.clear();
  await putConfig(scene.etcd);
  agent = scene.start(1);
  await putPeers(scene.etcd, [storePeer(1), storePeer(2)]);
  await agent.untilReady({ peers: 2 });
});

describe("the configuration changes", () => {
  it("MTU: on the device and in subnet.env, and back", async () => {
    await withBackend({ Type: "vxlan", MTU: 1400 });
    expect(await agent.untilEvent("config.applied")).toContain("Backend.MTU");
    await until(async () => (await device())?.mtuBytes === 1350, { what: "the device's MTU" });
    await until(async () => (await agent.untilSubnetEnv()).mtuBytes === 1350, { what: "subnet.env's MTU" });
    await withBackend({ Type: "vxlan" });
    await until(async () => (await device())?.mtuBytes === 1450, { what: "the device's MTU to be back" });
    await until(async () => (await agent.untilSubnetEnv()).mtuBytes === 1450, { what: "subnet.env's MTU to be back" });
    await untilPeers(agent.host.namespace, [storePeer(1), storePeer(2)]);
  });

  it("Learning: on the living device", async () => {
    const before = await device();
    expect(before?.settings["learning"]).toBe(false);
    await withBackend({ Type: "vxlan", Learning: true });
    await until(async () => (await device())?.settings["learning"] === true, { what: "the device to learn" });
    expect((await device())?.mac).toBe(before?.mac);
    await untilPeers(agent.host.namespace, [storePeer(1), storePeer(2)]);
  });

  it("DirectRouting: peers on our link get plain routes, and the tunnel's objects go; and back", async () => {
    const far = storePeer(3, { publicIp: "203.0.113.7" });
    await putPeers(scene.etcd, [far]);
    await agent.untilReady({ peers: 3 });
    await withBackend({ Type: "vxlan", DirectRouting: true });
    await untilPeers(agent.host.namespace, [far], { what: "only the far peer to be in the tunnel" });
    const direct = async () =>
      (await routes(agent.host.namespace, "dev", "eth0")).filter((line) => /^10\.5/.test(line));
    expect(await direct()).toEqual([
      "10.5.101.0/24 via 192.168.50.101 proto 241",
      "10.5.102.0/24 via 192.168.50.102 proto 241",
    ]);
    await agent.untilReady({ peers: 3 });
    await withBackend({ Type: "vxlan" });
    await untilPeers(agent.host.namespace, [storePeer(1), storePeer(2), far]);
    expect(await direct()).toEqual([]);
  });

  it("Network: it goes on, says that a restart is needed, and a restart applies it", async () => {
    const { lease } = await agent.status();
    await putConfig(scene.etcd, { Network: "10.6.0.0/16", Backend: { Type: "vxlan" } });
    const line = await agent.untilEvent("config.restart-needed");
    expect(line).toContain("Network");
    await putPeers(scene.etcd, [storePeer(3)]);
    const status = await agent.untilReady({ peers: 3 });
    expect(status.lease).toEqual(lease);
    expect(await configurationFinding()).toMatchObject({
      severity: "warning",
      remedy: "restart flanneld on every host",
    });
    await putConfig(scene.etcd);
    await until(async () => (await configurationFinding()) === undefined, { what: "the old configuration being back" });
    await putConfig(scene.etcd, { Network: "10.6.0.0/16", Backend: { Type: "vxlan" } });
    await agent.untilEvent("config.restart-needed", { after: 1 });
    await agent.term();
    const second = scene.start(1);
    expect((await second.untilReady()).lease?.subnet).toMatch(/^10\.6\./);
    expect(await scene.etcd.get(`/coreos.com/network/subnets/${lease?.key}`)).toBeUndefined();
    await untilPeers(second.host.namespace, [], { what: "nothing of the old network" });
  });

  it.each([
    ["no JSON", `{"Network":`],
    ["a value against the rules", JSON.stringify({ ...vxlanConfig, SubnetLen: 99 })],
    ["an unknown backend", JSON.stringify({ ...vxlanConfig, Backend: { Type: "vxlam" } })],
    ["nothing at all", ""],
    ["huge", JSON.stringify({ ...vxlanConfig, Backend: { Type: "x".repeat(500_000) } })],
  ])("%s: refused, and the agent goes on with the last one", async (_what, text) => {
    await scene.etcd.put(configKey, "later").then(() => agent.untilEvent("config.rejected"));
    // Long ones go past the command line, which does not take so much; empty ones do not.
    if (text === "") await scene.etcd.put(configKey, text);
    else await scene.etcd.ctl(["put", "--", configKey], undefined, text);
    const line = await agent.untilEvent("config.rejected", { after: 1 });
    expect(line.length, "the value is not quoted in full").toBeLessThan(2_000);
    await putPeers(scene.etcd, [storePeer(3)]);
    await agent.untilReady({ peers: 3 });
    expect(await configurationFinding()).toMatchObject({ severity: "error" });
    await putConfig(scene.etcd);
    await withBackend({ Type: "vxlan", MTU: 1400 });
    await agent.untilEvent("config.applied");
  });

  it("is deleted: it goes on with the last one, and takes the next", async () => {
    await scene.etcd.delete(configKey);
    await agent.untilEvent("config.deleted");
    await putPeers(scene.etcd, [storePeer(3)]);
    await agent.untilReady({ peers: 3 });
    expect(await configurationFinding()).toMatchObject({ evidence: expect.stringContaining("deleted") });
    await withBackend({ Type: "vxlan", MTU: 1400 });
    await agent.untilEvent("config.applied");
    expect(await configurationFinding()).toBeUndefined();
    await until(async () => (await device())?.mtuBytes === 1350, { what: "the device's MTU" });
  });

  it("only in its spelling: nothing happens", async () => {
    await putConfig(scene.etcd, { ...agentRange, backend: { type: "VXLAN", VNI: 1, mtu: 0 }, network: "10.5.3.4/16" });
    await withBackend({ Type: "vxlan", MTU: 1400 });
    const line = await agent.untilEvent("config.applied");
    expect(line).toContain("Backend.MTU");
    expect(agent.events("config.applied")).toHaveLength(1);
    expect(agent.events("config.restart-needed")).toEqual([]);
  });
});

describe("SIGHUP", () => {
  it("reads the log level again", async () => {
    const file = join(agent.directory, "state/log-level");
    const details = () => agent.output.split("\n").filter((line) => line.includes(" DEBUG ")).length;
    expect(details()).toBe(0);
    await writeFile(file, "6\n");
    agent.signal("SIGHUP");
    expect(await agent.untilEvent("agent.reload")).toContain("verbosity=6");
    await putPeers(scene.etcd, [storePeer(3)]);
    await agent.untilReady({ peers: 3 });
    // Our own lease may have been seen before, since an earlier test had it announced anew.
    expect(agent.events("lease.seen").join("\n")).toContain(storePeer(3).publicIp);
    const objects = agent.events("host.object").join("\n");
    for (const text of [storePeer(3).subnet, storePeer(3).mac]) expect(objects).toContain(text);
    await rm(file);
    agent.signal("SIGHUP");
    expect(await agent.untilEvent("agent.reload", { after: 1 })).toContain("verbosity=0");
  });

  it("reads the configuration again: a wrong one is said again", async () => {
    await putConfig(scene.etcd, { Network: 5 });
    await agent.untilEvent("config.rejected");
    agent.signal("SIGHUP");
    await agent.untilEvent("config.rejected", { after: 1 });
    await agent.untilReady({ peers: 2 });
  });

  it("takes up new certificates, and keeps the old ones when the new ones are no good", async () => {
    await using old = await Pki.create();
    await using etcd = await EtcdServer.start({ pki: old, clientCertAuth: true });
    await etcd.control("put", configKey, JSON.stringify({ ...vxlanConfig, ...agentRange }));
    // That etcd listens on the box's loopback: so this agent runs on the LAN's router.
    const router = new LabHost({
      name: "",
      segment: scene.host(1).segment,
      ipv4: scene.lan.storeAddress,
      ipv6: undefined,
      mtuBytes: 1500,
    });
    const files = "/run/flannel/pki";
    const names = ["ca.pem", "client.pem", "client.key"];
    const install = (pki: Pki) => Promise.all(names.map((name) => copyFile(pki.file(name), join(files, name))));
    await mkdir(files, { recursive: true });
    await install(old);
    const args = [
      "--iface=lan0",
      `--etcd-cafile=${files}/ca.pem`,
      `--etcd-certfile=${files}/client.pem`,
      `--etcd-keyfile=${files}/client.key`,
    ];
    await using secured = LabAgent.start(router, {
      etcdEndpoints: etcd.endpoints,
      args,
      directory: "/run/flannel/tls",
    });
    await secured.untilReady();
    const put = (number: number) => etcd.control("put", leaseKey(storePeer(number)), leaseValue(storePeer(number)));

    await writeFile(`${files}/ca.pem`, "no certificate");
    const reload = () => tryRun(["bin/flannelctl", "--socket", secured.controlSocket, "reload"]);
    const said = `could not reload everything, previous values stay in use: `;
    expect(await reload()).toMatchObject({ exitCode: 1, stdout: expect.stringMatching(`^${said}.*${files}/ca.pem`) });
    expect(await secured.untilEvent("agent.reload-failed")).toContain(`${files}/ca.pem`);
    await put(1);
    await secured.untilReady({ peers: 1 });

    // The cluster gets another authority: the old certificates are of no use any more.
    await using renewed = await Pki.create();
    const all = [...names, "ca.key", "server.pem", "server.key"];
    await Promise.all(all.map((name) => copyFile(renewed.file(name), old.file(name))));
    await etcd.members[0]?.restart();
    await put(2);
    await until(async () => !(await secured.status()).store.connected, { what: "the agent to be cut off" });
    await install(renewed);
    secured.signal("SIGHUP");
    await secured.untilReady({ peers: 2 });
    expect((await vxlanLines(boxNamespace)).toSorted()).toEqual(
      [1, 2].flatMap((n) => linesOf(storePeer(n))).toSorted(),
    );
    expect((await secured.status()).store.connected).toBe(true);
    expect(await secured.term()).toEqual({ code: 0, signal: null });
    await boxNamespace.ip("link", "del", "dev", "flannel.1");
  });
});
