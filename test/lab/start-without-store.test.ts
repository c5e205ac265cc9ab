// Starts at bad moments: the store away, the configuration missing or wrong, the disk full. The agent says what is
// wrong, does what it can, and comes up by itself when it can.
import { once } from "node:events";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { run } from "../../lab/command.ts";
import { Etcd } from "../../lab/etcd.ts";
import { blackHole } from "../../lab/faults.ts";
import { link } from "../../lab/kernel-view.ts";
import { ServiceManager } from "../../lab/service-manager.ts";
import { until } from "../../lab/wait.ts";
import { probeHealth, Scene } from "../support/scene.ts";
import {
  configKey,
  leaseKey,
  linesOf,
  putConfig,
  putPeers,
  storePeer,
  untilPeers,
  vxlanConfig,
  vxlanLines,
} from "../support/store-peers.ts";

const healthPort = 8099;
const withHealth = [`--healthz-port=${healthPort}`];
let scene: Scene;

beforeAll(async () => {
  scene = await Scene.open(1);
});

beforeEach(() => scene.clear());

afterAll(() => scene[Symbol.asyncDispose]());

const probe = (path: string) => probeHealth(scene.host(1), healthPort, path);

/** Kills the store; the next start is `Etcd.untilHealthy`'s. */
async function stopStore(): Promise<() => Promise<void>> {
  const [member] = scene.etcd.members;
  if (member === undefined) throw new Error("no member");
  await member.kill9();
  return async () => {
    member.start();
    await scene.etcd.untilHealthy(member);
  };
}

describe("the store is away and nothing is remembered", () => {
  it("says so once, is alive and not ready with the reason, and comes up with the store", async () => {
    await putConfig(scene.etcd);
    const startStore = await stopStore();
    let attempts = 0;
    const nobody = createServer((socket) => {
      attempts++;
      socket.destroy();
    });
    nobody.listen(2379, scene.lan.storeAddress);
    await once(nobody, "listening");
    const agent = scene.start(1, { args: withHealth });
    await agent.untilEvent("config.unavailable");
    expect(await probe("/healthz")).toEqual({ status: 200, text: "flanneld is running" });
    expect(await probe("/readyz")).toEqual({ status: 503, text: "flanneld is not ready yet" });
    const { text } = await probe("/readyz?verbose");
    expect(JSON.parse(text)).toMatchObject({
      ready: false,
      reasons: [{ name: "no-lease", message: expect.stringContaining("no lease yet: ") }],
    });
    expect(text).toContain("192.168.50.1:2379");
    await until(() => attempts >= 5, { what: "more attempts to connect" });
    nobody.close();
    await once(nobody, "close");
    await startStore();
    await agent.untilReady();
    expect(await probe("/readyz")).toEqual({ status: 200, text: "flanneld is ready" });
    expect(agent.events("config.unavailable"), "said once").toHaveLength(1);
    expect(agent.events("config.unavailable.recovered")).toHaveLength(1);
  });
});

describe("the store is away and the last run is remembered", () => {
  /** A run with peers 1 and 2, then a reboot: device and subnet file are gone, the state directory is not. */
  async function runAndReboot(): Promise<{ readonly before: LabAgent; readonly mac: string; readonly env: string }> {
    await putConfig(scene.etcd);
    const before = scene.start(1);
    await putPeers(scene.etcd, [storePeer(1), storePeer(2)]);
    await before.untilReady({ peers: 2 });
    const env = await readFile(before.subnetFile, "utf8");
    const mac = (await link(before.host.namespace, "flannel.1"))?.mac ?? "";
    await before.term();
    await before.host.namespace.ip("link", "del", "dev", "flannel.1");
    await rm(before.subnetFile);
    return { before, mac, env };
  }

  it("gives containers their subnet and peers at once, says what it is, and verifies it later", async () => {
    const { mac, env } = await runAndReboot();
    const host = scene.host(1);
    const undo = await blackHole(host, 2379);
    await using manager = await ServiceManager.start("/run/notify.sock");
    const agent = scene.start(1, { args: withHealth, env: { NOTIFY_SOCKET: manager.socketPath } });
    await untilPeers(host.namespace, [storePeer(1), storePeer(2)], { what: "the remembered peers" });
    await agent.untilSubnetEnv();
    expect(await readFile(agent.subnetFile, "utf8")).toBe(env);
    expect((await link(host.namespace, "flannel.1"))?.mac).toBe(mac);
    await manager.untilNotified("READY=1");
    const status = await agent.status();
    expect(status).toMatchObject({ state: "notReady", warmStart: true, store: { connected: false } });
    expect(status.reasons.map(({ message }) => message)).toEqual([
      "using remembered state: the store has not answered yet",
    ]);
    expect((await probe("/readyz")).status).toBe(503);

    await scene.etcd.delete(leaseKey(storePeer(1)));
    await putPeers(scene.etcd, [storePeer(3)]);
    await undo();
    await untilPeers(host.namespace, [storePeer(2), storePeer(3)]);
    expect((await agent.untilReady({ peers: 2 })).warmStart).toBe(false);
    expect((await probe("/readyz")).status).toBe(200);
    expect(agent.events("lease.acquired").join()).toContain("outcome=reused");
  });

  it("begins anew when the configuration is another one by now", async () => {
    const { before } = await runAndReboot();
    const undo = await blackHole(before.host, 2379);
    const agent = scene.start(1);
    await untilPeers(before.host.namespace, [storePeer(1), storePeer(2)]);
    await putConfig(scene.etcd, { Network: "10.6.0.0/16", Backend: { Type: "vxlan", VNI: 7 } });
    await undo();
    const status = await agent.untilReady();
    expect(agent.events("config.changed")).toHaveLength(1);
    expect(status.lease?.subnet).toMatch(/^10\.6\./);
    expect((await agent.untilSubnetEnv()).network).toBe("10.6.0.0/16");
    expect(await link(before.host.namespace, "flannel.7")).toBeDefined();
    await until(async () => (await link(before.host.namespace, "flannel.1")) === undefined, {
      what: "the old device to go",
    });
  });
});

describe("the configuration changed while an agent was stopped that carries packets itself", () => {
  it("begins anew once, with the new one", async () => {
    await putConfig(scene.etcd, { Network: "10.5.0.0/16", Backend: { Type: "udp" } });
    const before = scene.start(1);
    await before.untilReady();
    await before.term();
    await putConfig(scene.etcd, { Network: "10.6.0.0/16", Backend: { Type: "udp", Port: 8299 } });
    const agent = scene.start(1);
    await until(async () => (await agent.status()).lease?.subnet?.startsWith("10.6.") === true, {
      what: "a lease of the new network",
    });
    await agent.untilReady();
    expect(agent.events("config.changed")).toHaveLength(1);
    expect(agent.events("tunnel.started").at(-1)).toContain("UDP port 8299");
    expect((await agent.untilSubnetEnv()).network).toBe("10.6.0.0/16");
  });
});

describe("the configuration", () => {
  /** Alive, not ready, and each of the words in the log, in the reasons and in the findings. */
  async function expectWaiting(agent: LabAgent, words: readonly string[]): Promise<void> {
    await agent.untilEvent("config.invalid");
    const line = agent.events("config.invalid").at(-1) ?? "";
    await until(async () => (await probe("/readyz?verbose")).text.includes("configuration in the store is wrong"), {
      what: "the reason to be told",
    });
    expect((await probe("/healthz")).status).toBe(200);
    const ready = await probe("/readyz?verbose");
    expect(ready.status).toBe(503);
    const { state, reasons, findings } = await agent.status();
    expect(state).toBe("notReady");
    expect(reasons.map(({ name }) => name)).toEqual(["no-lease"]);
    const finding = findings.find(({ name }) => name === "configuration");
    for (const word of words) {
      for (const text of [line, JSON.parse(ready.text).reasons[0].message, finding?.evidence ?? ""]) {
        expect(text).toContain(word);
      }
    }
  }

  it("is missing: the agent names the key, and comes up when it is written", async () => {
    const agent = scene.start(1, { args: withHealth });
    const line = await agent.untilEvent("config.unavailable");
    expect(line).toContain(configKey);
    expect(line).toContain("CONFIG_MISSING");
    expect((await probe("/readyz?verbose")).text).toContain(configKey);
    await putConfig(scene.etcd);
    await agent.untilReady();
    expect(agent.events("config.unavailable")).toHaveLength(1);
  });

  it.each([
    ["a bad value", { ...vxlanConfig, SubnetLen: 40 }, ["SubnetLen", "40", "30"]],
    ["a value of the wrong type", { ...vxlanConfig, Network: 5 }, ["Network", "5"]],
    ["an unknown backend", { Network: "10.5.0.0/16", Backend: { Type: "vxlam" } }, ["vxlam", "vxlan", "host-gw"]],
    ["a bad backend value", { Network: "10.5.0.0/16", Backend: { Type: "vxlan", Port: 70_000 } }, ["Port", "70000"]],
    ["no network", { Backend: { Type: "vxlan" } }, ["Network"]],
  ])(
    "is wrong (%s): says key, value and rule, waits, and comes up with the right one",
    async (_what, config, words) => {
      await putConfig(scene.etcd, config);
      const agent = scene.start(1, { args: withHealth });
      await expectWaiting(agent, words);
      await putConfig(scene.etcd);
      await agent.untilReady();
      expect(agent.events("config.invalid"), "said once").toHaveLength(1);
      expect((await agent.status()).findings.filter(({ name }) => name === "configuration")).toEqual([]);
      expect(agent.output).not.toContain("    at ");
    },
  );

  it("is wrong, wrong in another way, gone and right in the end: each is told once", async () => {
    await scene.etcd.put(configKey, `{"Network":`);
    const agent = scene.start(1, { args: withHealth });
    await expectWaiting(agent, ["JSON"]);
    agent.signal("SIGHUP");
    await agent.untilEvent("agent.reload-failed");
    await putConfig(scene.etcd, { ...vxlanConfig, SubnetLen: 40 });
    await until(() => agent.events("config.invalid").length === 2, { what: "the other fault to be told" });
    await expectWaiting(agent, ["SubnetLen", "40"]);
    await scene.etcd.delete(configKey);
    expect(await agent.untilEvent("config.unavailable")).toContain(configKey);
    await putConfig(scene.etcd);
    await agent.untilReady();
    expect(agent.events("config.invalid")).toHaveLength(2);
    expect(agent.events("config.unavailable")).toHaveLength(1);
  });

  it("is wrong at a start that remembers a right one: goes on with that, as a running agent does", async () => {
    await putConfig(scene.etcd);
    const before = scene.start(1);
    await before.untilReady();
    const { lease } = await before.status();
    await before.term();
    await putConfig(scene.etcd, { ...vxlanConfig, SubnetLen: 40 });
    const agent = scene.start(1);
    const status = await agent.untilReady();
    expect(status.lease?.subnet).toBe(lease?.subnet);
    expect(status.warmStart).toBe(false);
    expect(agent.events("config.rejected").at(-1)).toContain("SubnetLen");
    expect(status.findings.find(({ name }) => name === "configuration")?.severity).toBe("error");
  });

  it("is wrong: the agent stops at once when asked to", async () => {
    await putConfig(scene.etcd, { Network: 5 });
    const agent = scene.start(1);
    await agent.untilEvent("config.invalid");
    expect(await agent.term()).toEqual({ code: 0, signal: null });
    expect(agent.events("agent.failed")).toEqual([]);
  });
});

describe("a wrong password", () => {
  it("exit 1 with a clear message, without the password", async () => {
    await using etcd = await Etcd.start({ members: [{ address: scene.lan.storeAddress, port: 2479 }] });
    await etcd.put(configKey, JSON.stringify(vxlanConfig));
    for (const words of ["user add root:right", "user grant-role root root", "user add flannel:right", "auth enable"]) {
      await etcd.ctl(words.split(" "));
    }
    const login = ["--etcd-username=flannel", "--etcd-password=wr0ng-secret", "-v=6"];
    const agent = scene.start(1, { etcdEndpoints: etcd.endpoints, args: login });
    expect(await agent.exited).toEqual({ code: 1, signal: null });
    expect(agent.events("agent.failed")[0]).toMatch(/log in.*refused.*check user, password/);
    expect(agent.output).not.toContain("wr0ng-secret");
    // Right password, but no role.
    const second = scene.start(1, {
      etcdEndpoints: etcd.endpoints,
      args: ["--etcd-username=flannel"],
      env: { FLANNELD_ETCD_PASSWORD: "right" },
    });
    expect(await second.exited).toEqual({ code: 1, signal: null });
    expect(second.events("agent.failed")[0]).toContain("permission denied");
    expect(second.output).not.toContain("right");
  });
});

describe("disks", () => {
  const directory = "/run/small";

  async function mount(options: string): Promise<AsyncDisposable> {
    await mkdir(directory, { recursive: true });
    await run(["mount", "-t", "tmpfs", "-o", options, "none", directory]);
    return { [Symbol.asyncDispose]: async () => void (await run(["umount", "--lazy", directory])) };
  }

  /** Takes all the room there is. */
  async function fill(): Promise<void> {
    await expect(writeFile(`${directory}/filler`, Buffer.alloc(1 << 20))).rejects.toThrow("ENOSPC");
  }

  beforeEach(() => putConfig(scene.etcd));

  it.each([
    ["cannot be written", "ro"],
    ["is full", "size=4k"],
  ])("the state directory %s: said once, and the agent runs", async (_what, options) => {
    await using _mounted = await mount(options);
    if (options !== "ro") await fill();
    const agent = scene.start(1, { args: [`--state-dir=${directory}`] });
    await putPeers(scene.etcd, [storePeer(1)]);
    await agent.untilReady({ peers: 1 });
    expect(await agent.untilEvent("state.failed")).toContain(directory);
    await agent.term();
    expect(agent.events("state.failed")).toHaveLength(1);
  });

  it("no room for subnet.env: said, not ready, the old file as it was; done when there is room", async () => {
    await using _mounted = await mount("size=16k");
    const old = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.40.1/24\nFLANNEL_MTU=1400\nFLANNEL_IPMASQ=false\n";
    await writeFile(`${directory}/subnet.env`, old);
    await fill();
    const agent = scene.start(1, { directory, args: [...withHealth, `--state-dir=${scene.host(1).runDirectory}`] });
    expect(await agent.untilEvent("subnet-file.failed")).toContain("ENOSPC");
    const status = await agent.status();
    expect(status.reasons.map(({ message }) => message)).toEqual(["the subnet file is not written yet"]);
    expect((await probe("/readyz")).status).toBe(503);
    expect(await readFile(`${directory}/subnet.env`, "utf8")).toBe(old);
    expect(await readdir(directory), "nothing half-written").not.toContainEqual(expect.stringMatching(/^\.subnet/));
    await putPeers(scene.etcd, [storePeer(1)]);
    await untilPeers(agent.host.namespace, [storePeer(1)], { what: "peers to be programmed all the same" });

    await rm(`${directory}/filler`);
    await agent.untilReady({ peers: 1 });
    expect(await agent.untilSubnetEnv()).toMatchObject({ subnet: "10.5.40.1/24", mtuBytes: 1450 });
    expect(agent.events("subnet-file.failed")).toHaveLength(1);
    expect(await vxlanLines(agent.host.namespace)).toEqual(linesOf(storePeer(1)));
    await agent.term();
  });
});

describe("a host that waits for a free subnet", () => {
  it("takes up the configuration that gives it one", async () => {
    const one = {
      Network: "10.5.0.0/16",
      SubnetMin: "10.5.101.0",
      SubnetMax: "10.5.101.0",
      Backend: { Type: "vxlan" },
    };
    await putConfig(scene.etcd, one);
    await putPeers(scene.etcd, [storePeer(1)]);
    const agent = scene.start(1);
    await agent.untilEvent("lease.unavailable");
    await putConfig(scene.etcd, { ...one, SubnetMax: "10.5.102.0" });
    const { lease } = await agent.untilReady({ peers: 1 });
    expect(lease?.subnet).toBe("10.5.102.0/24");
    expect(agent.events("config.changed")).toHaveLength(1);
  });
});
