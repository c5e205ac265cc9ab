// The backend ipsec with strongSwan's charon, which encrypts by itself where the kernel has no ESP: packets, a host as upstream
// makes it, crashes and restarts, a wrong key named, no secret shown.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import type { LabHost } from "../../lab/host.ts";
import {
  charonPidOf,
  connectionsOf,
  ipsecAgent,
  swanctl,
  terminateAssociations,
  UpstreamIpsecPeer,
  withOwnRun,
} from "../../lab/ipsec-host.ts";
import { leaseEntryOf, leases } from "../../lab/lease-view.ts";
import { ContinuousPing, measureThroughput, ping, pingAll, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { everythingSaid } from "../support/everything-said.ts";
import { expectHealed } from "../support/healing.ts";
import { Program, restartAllWays } from "../support/restarts.ts";

const network = "10.5.0.0/16";
const METRICS = "127.0.0.1:9471";
const presharedKey = "a-secret-that-nobody-shows".repeat(4);
const laterKey = "another-that-nobody-shows".repeat(4);
const configKey = "/coreos.com/network/config";
const upstreamSubnet = "10.5.200.0/24";
const configWith = (PSK: string) =>
  JSON.stringify({ Network: network, SubnetMax: "10.5.99.0", Backend: { Type: "ipsec", PSK } });
const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));

describe("three hosts of ours and one as upstream makes it", () => {
  let cluster: Cluster;
  const program = new Program();
  beforeAll(async () => {
    const config = JSON.parse(configWith(presharedKey)) as Record<string, unknown>;
    const launch = (host: LabHost) => ipsecAgent(host, program.flanneld);
    const args = [`--metrics-addr=${METRICS}`, "--metrics-per-peer"];
    cluster = await Cluster.start({ hosts: 4, config, launch, args, withoutAgent: [4] });
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  const association = async (from: number, to: number) => {
    const { dataPlane } = await cluster.agent(from).status();
    const publicIp = cluster.lan.host(to).ipv4;
    const lease = (await leases(cluster.etcd)).find((each) => each.publicIp === publicIp);
    return dataPlane?.peers.find(({ key }) => key.includes(lease?.subnet?.replace("/", "-") ?? "?"));
  };

  it("connects the containers, with upstream's lease and names", async () => {
    await untilAllPing(cluster.pods);
    expect(await pingAll(cluster.pods)).toHaveLength(6);
    expect(await measureThroughput(cluster.pod(1), cluster.pod(2), 1)).toBeGreaterThan(1e6);
    const { host } = cluster.agent(1);
    const { key, value } = await leaseEntryOf(cluster.etcd, host.ipv4 ?? "");
    expect(value).toBe(`{"PublicIP":"${host.ipv4}","PublicIPv6":null,"BackendType":"ipsec"}`);
    const own = key.split("/").at(-1)?.replace("-", "/");
    const peer = (await leases(cluster.etcd)).find(({ publicIp }) => publicIp === cluster.lan.host(2).ipv4);
    const loaded = await swanctl(host, "--list-conns");
    expect(loaded).toContain(`${host.ipv4}-${own}-${peer?.subnet}-${peer?.publicIp}: `);
    expect(loaded).toContain(`${own}-${peer?.subnet}: TUNNEL`);
    expect(readFileSync(cluster.agent(1).subnetFile, "utf8")).toContain("FLANNEL_MTU=1400\n");
  });

  it("carries the largest packet, in ESP and nothing else", async () => {
    const [from, to] = [cluster.pod(1), cluster.pod(2)];
    const { namespace } = cluster.lan.host(2);
    const seen = namespace.run([
      "timeout",
      "20",
      "tcpdump",
      "-nni",
      "eth0",
      "-c",
      "6",
      "-Q",
      "in",
      "udp port 4500 or icmp",
    ]);
    await until(() => ping(from.namespace, to.ipv4 ?? "", { payloadBytes: 1400 - 28 }), { what: "a large packet" });
    await using traffic = await ContinuousPing.start(from.namespace, to.ipv4 ?? "");
    expect(await seen).not.toContain("ICMP");
    await traffic.stop();
  });

  it("tells of each peer its association, with age and bytes", async () => {
    const peer = await until(
      async () => {
        const found = await association(1, 2);
        return (found?.sentBytes ?? 0) > 1e6 ? found : undefined;
      },
      { what: "the bytes of the associations" },
    );
    expect(peer).toMatchObject({
      association: "established, AES_GCM_16-128 in UDP",
      endpoint: `${cluster.lan.host(2).ipv4}:4500`,
    });
    expect(Date.now() - Date.parse(peer.lastHandshakeAt ?? "")).toBeLessThan(600_000);
    const metrics = await cluster.lan.host(1).namespace.run(["curl", "-sS", `http://${METRICS}/metrics`]);
    const metric = (name: string) =>
      Number(new RegExp(`^${name}\\{.*peer="${peer.key}".*\\} (\\S+)$`, "m").exec(metrics)?.[1]);
    expect(metric("flannel_peer_transmit_bytes_total")).toBeGreaterThanOrEqual(peer.sentBytes ?? Number.NaN);
    expect(metric("flannel_peer_receive_bytes_total")).toBeGreaterThanOrEqual(peer.receivedBytes ?? Number.NaN);
    const agoSeconds = Date.now() / 1_000 - metric("flannel_peer_last_handshake_timestamp_seconds");
    expect(Math.abs(agoSeconds)).toBeLessThan(600);
  });

  it("loses no packet when agents are killed, restarted and upgraded: charon and its associations stay", async () => {
    const { host } = cluster.agent(1);
    const associations = async () =>
      (await swanctl(host, "--list-sas", "--raw")).match(/(initiator-spi|spi-in)=\w+/g)?.sort();
    const before = { pid: charonPidOf(host), associations: await associations() };
    const report = await restartAllWays(cluster, program, [cluster.pod(2).ipv4, cluster.pod(3).ipv4]);
    expect(report).toEqual({ lost: [0, 0], isUpgraded: true });
    expect({ pid: charonPidOf(host), associations: await associations() }).toEqual(before);
  });

  it("starts charon again when it is killed; meanwhile nothing leaves in the clear", async () => {
    const { host } = cluster.agent(2);
    const before = charonPidOf(host);
    await using traffic = await ContinuousPing.start(cluster.pod(2).namespace, cluster.pod(1).ipv4 ?? "");
    await host.namespace.run(["kill", "-9", String(before)]);
    const way = await host.namespace.tryRun(["ip", "route", "get", cluster.pod(1).ipv4 ?? ""]);
    expect(way.stdout + way.stderr).toMatch(/ipsec0|Invalid argument/);
    await until(() => charonPidOf(host) !== before, { what: "another charon" });
    await traffic.more(20);
    const { longestSilenceMs } = await traffic.stop();
    console.log(`charon killed: no packet for ${longestSilenceMs.toFixed(0)} ms`);
    await untilAllPing(cluster.pods);
    expect(cluster.agent(2).events("ipsec.charon-failed").length).toBeGreaterThan(0);
  });

  it("loads connections and keys again that another program unloaded, and loses no packet", async () => {
    const { host } = cluster.agent(1);
    const before = await connectionsOf(host);
    expect(before).toHaveLength(2);
    await using traffic = await ContinuousPing.start(cluster.pod(1).namespace, cluster.pod(2).ipv4 ?? "");
    // As an administrator does after a change of swanctl.conf: what stands in no file goes.
    await swanctl(host, "--load-all", "--clear", "--noprompt", "--file", "/dev/null");
    const damagedMs = performance.now();
    const told = await cluster.agent(1).untilEvent("ipsec.unloaded");
    const isWhole = async () => (await connectionsOf(host)).join() === before.join();
    await until(isWhole, { what: "the connections to be there again" });
    expectHealed("all unloaded from charon", damagedMs);
    expect(told).toMatch(/another program unloaded \d connections and keys from charon/);
    await traffic.more(20);
    expect((await traffic.stop()).lost).toEqual([]);
    // Without the keys there would be no other associations.
    await terminateAssociations(host);
    await untilAllPing(cluster.pods);
  });

  it("takes another key while packets flow; what is negotiated from then on has it", async () => {
    const { host } = cluster.agent(1);
    await using traffic = await ContinuousPing.start(cluster.pod(1).namespace, cluster.pod(2).ipv4 ?? "");
    const before = cluster.agents.map((agent) => agent.events("config.applied").length);
    await cluster.etcd.put(configKey, configWith(laterKey));
    await Promise.all(
      cluster.agents.map((agent, at) => agent.untilEvent("config.applied", { after: before[at] ?? 0 })),
    );
    await traffic.more(50);
    expect((await traffic.stop()).lost).toEqual([]);
    await terminateAssociations(host);
    await untilAllPing(cluster.pods);
    expect(cluster.agents.flatMap((agent) => agent.events("ipsec.refused")).filter((line) => /PSK/.test(line))).toEqual(
      [],
    );
  });

  it("names a wrong key of a host, and connects it once the key is right", async () => {
    const publicIp = cluster.lan.host(4).ipv4 ?? "";
    const ours = (await leases(cluster.etcd)).map((lease) => ({
      publicIp: lease.publicIp ?? "",
      subnet: lease.subnet ?? "",
    }));
    const options = { subnet: upstreamSubnet, presharedKey: "x".repeat(96), peers: ours };
    await using upstream = await UpstreamIpsecPeer.start(cluster.lan.host(4), options);
    const value = JSON.stringify({ PublicIP: publicIp, PublicIPv6: null, BackendType: "ipsec" });
    await cluster.etcd.put(`/coreos.com/network/subnets/${upstreamSubnet.replace("/", "-")}`, value);
    const told = await cluster.agent(1).untilEvent("ipsec.refused");
    expect(told).toContain(`no security association with ${publicIp}`);
    await until(async () => (await association(1, 4))?.association?.includes("the PSK of the peer differs"), {
      what: "the status to name the key",
    });
    await upstream.load(laterKey);
    const { namespace } = cluster.lan.host(4);
    for (const pod of cluster.pods) {
      const words = ["ping", "-c", "1", "-W", "1", "-I", "10.5.200.1", pod.ipv4 ?? ""];
      await until(async () => (await namespace.tryRun(words)).exitCode === 0, {
        what: "upstream's host to reach a pod",
      });
    }
    await untilAllPing(cluster.pods);
    await until(async () => (await association(1, 4))?.association?.startsWith("established"), { what: "no refusal" });
    await cluster.etcd.delete(`/coreos.com/network/subnets/${upstreamSubnet.replace("/", "-")}`);
    const { host } = cluster.agent(1);
    await until(async () => !(await swanctl(host, "--list-sas")).includes(publicIp), { what: "its association to go" });
  });

  it("shows its secret nowhere", async () => {
    const agent = cluster.agent(1);
    const { host } = agent;
    const said = [
      await everythingSaid(agent, {
        etcdEndpoints: cluster.etcd.endpoints,
        address: cluster.pod(2).ipv4 ?? "",
        wrap: (argv) => withOwnRun(host, argv),
      }),
      cluster.agent(2).output,
      await host.namespace.run(withOwnRun(host, ["sh", "-c", "cat /run/charon.flannel.conf"])),
    ].join("\n");
    expect(said).toContain("established");
    expect(said).not.toContain(presharedKey);
    expect(said).not.toContain(laterKey);
    const state = join(agent.directory, "state");
    for (const name of readdirSync(state, { recursive: true, encoding: "utf8" })) {
      const path = join(state, name);
      if (!statSync(path).isFile() || !readFileSync(path, "utf8").includes(laterKey)) continue;
      expect(statSync(path).mode & 0o077).toBe(0);
    }
  });

  it("ends charon and takes its routes away with flannelctl cleanup", async () => {
    const agent = cluster.agent(1);
    const pid = charonPidOf(agent.host);
    await agent.term();
    const files = [`--subnet-file=${agent.subnetFile}`, `--state-dir=${join(agent.directory, "state")}`];
    const words = [flannelctl, "cleanup", `--etcd-endpoints=${cluster.etcd.endpoints}`, ...files];
    const removed = await agent.host.namespace.run(withOwnRun(agent.host, words));
    expect(removed).toContain(`removed charon (pid ${pid})`);
    expect(removed).toContain(`removed blackhole ${network}`);
    expect(await agent.host.namespace.ip("link", "show")).not.toContain("ipsec0");
  });
});
