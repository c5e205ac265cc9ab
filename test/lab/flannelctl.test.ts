// The shipped flannelctl against a real agent, etcd and kernel, as an operator uses it.
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { link } from "../../lab/kernel-view.ts";
import { until } from "../../lab/wait.ts";
import { statusSchema } from "../../src/agent/control/control-protocol.ts";
import { Scene } from "../support/scene.ts";
import {
  agentRange,
  configKey,
  leaseKey,
  putConfig,
  putPeers,
  storePeer,
  vxlanConfig,
} from "../support/store-peers.ts";

let scene: Scene;
let agent: LabAgent;

beforeAll(async () => {
  scene = await Scene.open(1);
});

beforeEach(async () => {
  await scene.clear();
  await putConfig(scene.etcd);
  await putPeers(scene.etcd, [storePeer(1), storePeer(2)]);
  agent = scene.start(1);
});

afterAll(() => scene[Symbol.asyncDispose]());

const ctl = (...words: readonly string[]) => scene.ctl(agent, ...words);

describe("status and wait", () => {
  it("tell a ready agent from one that is not and one that is not there", async () => {
    const waited = await ctl("wait", "--timeout", "30");
    expect(waited).toMatchObject({ exitCode: 0 });
    const { lease } = await agent.untilReady({ peers: 2 });
    const status = await ctl("status");
    expect(status).toMatchObject({ exitCode: 0, stderr: "" });
    for (const text of [`pid ${agent.pid}`, "ready", lease?.subnet ?? "?", "vxlan"])
      expect(status.stdout).toContain(text);
    const json = await ctl("--json", "status");
    expect(json.exitCode).toBe(0);
    expect(statusSchema.parse(JSON.parse(json.stdout))).toMatchObject({
      state: "ready",
      networks: [{ name: "/coreos.com/network", peers: { programmed: 2 } }],
    });

    await putPeers(
      scene.etcd,
      [storePeer(9, { publicIp: agent.host.ipv4 ?? "" })].map((peer) => ({ ...peer, subnet: lease?.subnet ?? "" })),
    );
    await agent.untilEvent("lease.conflict");
    const troubled = await ctl("status");
    expect(troubled.exitCode).toBe(1);
    expect(troubled.stdout).toContain("another agent announces this host's public IP");
    expect(await ctl("wait", "--timeout", "1")).toMatchObject({ exitCode: 1 });

    await agent.term();
    expect(await ctl("status")).toMatchObject({ exitCode: 3, stdout: "" });
    expect(await ctl("wait", "--timeout", "1")).toMatchObject({ exitCode: 1 });
    expect(await ctl("statu")).toMatchObject({ exitCode: 2, stdout: "" });
  });
});

describe("plan", () => {
  it("shows what is wanted, and that the kernel matches", async () => {
    await agent.untilReady({ peers: 2 });
    const { exitCode, stdout } = await ctl("plan");
    expect(exitCode).toBe(0);
    const mac = (await link(agent.host.namespace, "flannel.1"))?.mac ?? "?";
    for (const text of ["flannel.1", mac, storePeer(1).mac, `10.5.102.0/24 via 10.5.102.0`])
      expect(stdout).toContain(text);
    expect(stdout).toContain("the kernel matches");
    const json = JSON.parse((await ctl("--json", "plan")).stdout) as {
      networks: { desired: string[]; difference: string[] }[];
    };
    expect(json.networks).toMatchObject([{ difference: [] }]);
    expect(json.networks[0]?.desired.length).toBeGreaterThan(6);
  });
});

describe("lease", () => {
  it("lists and shows what is in the store", async () => {
    const { lease } = await agent.untilReady({ peers: 2 });
    const list = JSON.parse((await ctl("--json", "lease", "list")).stdout) as { leases: { subnet: string }[] };
    expect(list.leases.map(({ subnet }) => subnet).toSorted()).toEqual(
      [lease?.subnet, storePeer(1).subnet, storePeer(2).subnet].toSorted(),
    );
    const shown = await ctl("lease", "show", lease?.subnet ?? "");
    expect(shown.exitCode).toBe(0);
    expect(shown.stdout).toContain(agent.host.ipv4);
    expect(await ctl("lease", "show", "10.5.200.0/24")).toMatchObject({ exitCode: 1, stdout: "" });
  });

  it("releases the lease of a host that is gone only with --force, and the agent follows", async () => {
    await agent.untilReady({ peers: 2 });
    const mortal = storePeer(3);
    const { value } = (await scene.etcd.get(leaseKey(storePeer(1)))) ?? { value: "" };
    await scene.etcd.put(
      leaseKey(mortal),
      value.replace(storePeer(1).mac, mortal.mac).replace(storePeer(1).publicIp, mortal.publicIp),
      await scene.etcd.grant(3_600),
    );
    await agent.untilReady({ peers: 3 });
    expect((await ctl("lease", "release", mortal.subnet)).exitCode).toBe(1);
    expect(await ctl("lease", "release", mortal.subnet, "--force")).toMatchObject({ exitCode: 0 });
    await agent.untilReady({ peers: 2 });
    expect(await scene.etcd.get(leaseKey(mortal))).toBeUndefined();
  });
});

describe("config", () => {
  const file = "/run/flannel/new-config.json";
  const write = (config: object) => writeFile(file, JSON.stringify(config));

  it("gets, checks and sets; the agent applies it", async () => {
    await agent.untilReady({ peers: 2 });
    const stored = (await scene.etcd.get(configKey))?.value ?? "";
    expect(await ctl("config", "get")).toMatchObject({ exitCode: 0, stdout: `${stored}\n` });
    expect(await ctl("config", "check")).toMatchObject({ exitCode: 0 });
    await write({ ...vxlanConfig, ...agentRange, Backend: { Type: "vxlan", MTU: 1400 } });
    expect(await ctl("config", "set", file)).toMatchObject({ exitCode: 0 });
    await agent.untilEvent("config.applied");
    await until(async () => (await link(agent.host.namespace, "flannel.1"))?.mtuBytes === 1350, { what: "the MTU" });
    await write({ ...vxlanConfig, Backend: { Type: "vxlan", Learnig: true } });
    const odd = await ctl("config", "check", file);
    expect(odd.exitCode).toBe(1);
    expect(odd.stdout + odd.stderr).toContain("Learning");
  });

  it("refuses what is wrong, and another network while leases exist", async () => {
    await agent.untilReady({ peers: 2 });
    await write({ ...vxlanConfig, SubnetLen: 40 });
    const wrong = await ctl("config", "set", file);
    expect(wrong.exitCode).toBe(2);
    expect(wrong.stderr).toContain("SubnetLen");
    await write({ Network: "10.6.0.0/16", Backend: { Type: "vxlan" } });
    const refused = await ctl("config", "set", file);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain("--force");
    expect(agent.events("config.restart-needed")).toEqual([]);
    expect(await ctl("config", "set", file, "--force")).toMatchObject({ exitCode: 0 });
    await agent.untilEvent("config.restart-needed");
  });
});

describe("cleanup", () => {
  it("refuses while the agent runs, and takes everything away when it does not", async () => {
    await agent.untilReady({ peers: 2 });
    const state = [`--state-dir=${agent.directory}/state`, "cleanup"];
    const refused = await ctl(...state);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain(`${agent.pid}`);
    await agent.term();
    const dry = await ctl(...state, "--dry-run");
    expect(dry.exitCode).toBe(0);
    expect(dry.stdout).toContain("flannel.1");
    expect(await link(agent.host.namespace, "flannel.1")).toBeDefined();
    expect(await ctl(...state, "--release")).toMatchObject({ exitCode: 0 });
    expect(await link(agent.host.namespace, "flannel.1")).toBeUndefined();
    await expect(scene.leaseOf(agent.host.ipv4 ?? "")).rejects.toThrow("no leases");
  });
});
