// `flannelctl doctor` names each cause first, with nothing false beside it; and hosts in order, however odd, give no finding.
// Each trouble ends before the next one: what is left of one would be found beside the next.
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "../../lab/wait.ts";
import { ROUND_MS } from "../../src/doctor/checks/repairs.ts";
import { expectNamed } from "../support/doctor-expect.ts";
import { oddHosts, together } from "../support/doctor-healthy.ts";
import { DoctorStage } from "../support/doctor-stage.ts";
import { troubles, troublesWithoutAgent } from "../support/doctor-troubles.ts";
import { leaseDirectory } from "../support/store-peers.ts";

const flanneld = fileURLToPath(new URL("../../bin/flanneld", import.meta.url));

let stage: DoctorStage;

beforeAll(async () => {
  stage = await DoctorStage.open();
});

afterAll(() => stage[Symbol.asyncDispose]());

it("a host in order has no finding, and nothing is unknown", async () => {
  const { output, codes, exitCode } = await stage.doctor(2);
  expect({ codes, unknown: output.unknown, exitCode }).toEqual({ codes: [], unknown: [], exitCode: 0 });
});

it("nor has a host on which everything odd comes together", async () => {
  const odd = together(oddHosts.filter(({ isAlone }) => isAlone !== true));
  await stage.run(2, odd.make);
  try {
    const { output, codes } = await stage.doctor(2);
    expect(codes, JSON.stringify(output.findings, undefined, 1)).toEqual([]);
  } finally {
    await stage.run(2, odd.undo);
  }
});

describe("causes", () => {
  it.each(troubles.filter(({ isLong }) => isLong !== true).map((trouble) => [trouble.code, trouble] as const))(
    "%s",
    (_, trouble) => expectNamed(stage, trouble),
  );
});

describe("--fix", () => {
  const make = "sysctl -qw net.ipv4.ip_forward=0; ip link set pod0 nomaster";
  const forwarding = () => stage.scene.host(2).namespace.run(["sysctl", "-n", "net.ipv4.ip_forward"]);

  it("asks, and changes nothing where nobody can be asked", async () => {
    await stage.run(2, make);
    const { exitCode, stderr } = await stage.ctl(2, "doctor", "--timeout=30", "--fix");
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--yes") });
    expect(await forwarding()).toBe("0\n");
  });

  it("runs what is safe, logs it, and --undo undoes it", async () => {
    const fixed = await stage.doctor(2, "--fix", "--yes");
    expect(fixed.output.fixes?.map(({ code, command, result }) => [code, command, result])).toEqual([
      ["ip-forward-off", "sysctl -w net/ipv4/ip_forward=1", "done"],
      ["port-detached", "ip link set dev pod0 master cni0", "done"],
    ]);
    expect([fixed.codes, fixed.exitCode]).toEqual([[], 0]);
    const log = await readFile(`${stage.agents[1]?.directory}/state/doctor-fixes.json`, "utf8");
    expect((JSON.parse(log) as { state: string }[]).map(({ state }) => state)).toEqual(["done", "done"]);
    const undone = await stage.doctor(2, "--undo");
    expect(undone.output.undone?.map(({ command, result }) => [command, result])).toEqual([
      ["ip link set dev pod0 nomaster", "done"],
      ["sysctl -w net/ipv4/ip_forward=0", "done"],
    ]);
    expect(undone.codes).toEqual(["ip-forward-off", "port-detached"]);
    await stage.run(2, "sysctl -qw net.ipv4.ip_forward=1; ip link set pod0 master cni0");
    expect((await stage.doctor(2, "--undo")).output.undone).toEqual([]);
  });
});

it("--peer tells what is seen of the other host from here, and that it was not asked", async () => {
  const { output, codes } = await stage.doctor(2, "--peer=192.168.50.11");
  expect(codes).toEqual([]);
  expect(output.peer).toMatchObject({
    publicIp: "192.168.50.11",
    verdict: "all answer",
    reason: expect.stringContaining("was not asked"),
  });
});

describe("leases", () => {
  const lease = (number: number, publicIp: string, backend: object) => [
    `${leaseDirectory}10.5.${number}.0-24`,
    JSON.stringify({ PublicIP: publicIp, PublicIPv6: null, ...backend }),
  ];
  const vxlan = { BackendType: "vxlan", BackendData: { VNI: 1, VtepMAC: "02:00:5e:00:00:77" } };

  it.each([
    ["lease-duplicate-ip", lease(177, "192.168.50.11", vxlan)],
    ["mixed-version", lease(178, "192.168.50.178", { BackendType: "wireguard", BackendData: { PublicKey: "x" } })],
  ])("%s", async (code, [key = "", value = ""]) => {
    await stage.scene.etcd.put(key, value);
    try {
      await until(async () => (await stage.agents[1]?.status())?.peers.known === 2, { what: "the lease" });
      await stage.untilCodes(2, [code]);
    } finally {
      await stage.scene.etcd.delete(key);
    }
    await stage.untilCodes(2, []);
  });

  it("lease-pool-empty, on the host that gets no subnet", async () => {
    const { scene } = stage;
    const config = { Network: "10.9.0.0/27", SubnetLen: 29, Backend: { Type: "alloc" } };
    await scene.etcd.put("/small/config", JSON.stringify(config));
    // The first subnet is left out, as upstream does.
    const taken = JSON.stringify({ PublicIP: "192.168.50.99", BackendType: "alloc" });
    for (const subnet of [8, 16, 24]) await scene.etcd.put(`/small/subnets/10.9.0.${subnet}-29`, taken);
    await using late = scene.start(1, { directory: "/run/late", args: ["--etcd-prefix=/small"] });
    await late.untilEvent("lease.unavailable");
    const { codes, output } = await stage.doctorOf(late, "--etcd-prefix=/small");
    expect(codes, JSON.stringify(output.findings, undefined, 1)).toEqual(["lease-pool-empty"]);
  });
});

describe("what comes back again and again", () => {
  it("rules-flushed and network-manager-flush", async () => {
    // Three rounds, apart by more than what counts as one.
    for (let round = 1; round <= 3; round++) {
      const before = await Promise.all(stage.agents.map(async (agent) => (await agent.status()).repairs.total));
      await Promise.all([stage.run(1, "iptables -F FLANNEL-FWD"), stage.run(2, "ip route flush dev flannel.1")]);
      await until(
        async () => {
          const now = await Promise.all(stage.agents.map(async (agent) => (await agent.status()).repairs.total));
          return now.every((total, at) => total > (before[at] ?? 0));
        },
        { what: "repairs" },
      );
      if (round < 3) await delay(ROUND_MS + 100);
    }
    const [rules, routes] = await Promise.all([stage.doctor(1), stage.doctor(2)]);
    expect(rules.codes, JSON.stringify(rules.output.findings, undefined, 1)).toEqual(["rules-flushed"]);
    expect(routes.codes, JSON.stringify(routes.output.findings, undefined, 1)).toEqual(["network-manager-flush"]);
  });
});

describe("without an agent", () => {
  beforeAll(async () => {
    const files = () => readdir(`${stage.agents[1]?.directory}/state`);
    await until(async () => (await files()).some((file) => file.includes(".peers.")), { what: "remembered peers" });
    await stage.agents[1]?.kill9();
  });

  it("a host in order has no finding, and it is said that no agent answers", async () => {
    const { output, codes, exitCode } = await stage.doctor(2);
    expect({ codes, unknown: output.unknown, agent: output.agent, exitCode }).toEqual({
      ...{ codes: [], unknown: [], agent: "absent", exitCode: 0 },
    });
  });

  it("the lease of another host in the store", async () => {
    const { etcd } = stage.scene;
    const { key, value } = await stage.scene.leaseOf("192.168.50.12");
    await etcd.put(key, value.replace("192.168.50.12", "192.168.50.99"));
    const { codes, output } = await stage.doctor(2);
    expect(codes, JSON.stringify([output.findings, output.unknown], undefined, 1)).toEqual(["lease-lost"]);
    await etcd.put(key, value);
  });

  it("privilege-denied: an agent that may not change the network", async () => {
    const program = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--", flanneld];
    await using weak = stage.scene.start(2, { program });
    await weak.untilEvent("agent.starting");
    await until(() => weak.wholeStatus(), { what: "its status" });
    const { codes, output } = await stage.doctor(2);
    expect(codes, JSON.stringify(output.findings, undefined, 1)).toEqual(["privilege-denied"]);
    expect(output.findings[0]?.evidence[0]?.value).toMatch(/CAP_NET_ADMIN/);
  });

  it("a store that does not answer", async () => {
    const { codes, output } = await stage.doctor(2, "--etcd-endpoints=http://192.168.50.1:9");
    expect(codes).toEqual(["store-unreachable"]);
    expect(output.findings[0]?.evidence[0]?.value).toMatch(/http:\/\/192\.168\.50\.1:9.*no connection/);
  });

  it.each(troublesWithoutAgent.map((trouble) => [trouble.code, trouble] as const))("%s", (_, trouble) =>
    expectNamed(stage, trouble),
  );
});
