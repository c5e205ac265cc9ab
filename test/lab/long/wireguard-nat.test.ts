// A host behind NAT in a wireguard network, with wireguard-go: no port is forwarded to it, so others reach it only while its
// own packets keep the way open.
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { LabAgent } from "../../../lab/agent.ts";
import { Cluster } from "../../../lab/cluster.ts";
import type { LabHost } from "../../../lab/host.ts";
import { Namespace } from "../../../lab/namespace.ts";
import { createNatHost, type NatHost } from "../../../lab/nat.ts";
import { attachPod, type Pod } from "../../../lab/pod.ts";
import { ping, untilAllPing } from "../../../lab/probe.ts";
import { until } from "../../../lab/wait.ts";
import { wgDump, wireguardAgent } from "../../../lab/wireguard-host.ts";

/** Nothing listens there: the box lets only answers in. */
const NO_PORT = 9;
/** How long the box remembers a way; real ones have some 30 s. */
const FORGETS_AFTER_S = 2;
const configKey = "/coreos.com/network/config";
const args = ["--probe-interval=0", "--metrics-per-peer"];

let cluster: Cluster;
let nat: NatHost;
let agent: LabAgent;
let behind: Pod;

const configWith = (keepalive: number) => ({
  ...{ Network: "10.5.0.0/16" },
  Backend: { Type: "wireguard", PersistentKeepaliveInterval: keepalive },
});

function launch(host: LabHost) {
  const { program, keyFile } = wireguardAgent(host);
  return { program, env: { WIREGUARD_KEY_FILE: keyFile } };
}

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 2, config: configWith(1), launch, args });
  nat = await createNatHost(cluster.lan, NO_PORT);
  await new Namespace("nat").sysctl({
    "net.netfilter.nf_conntrack_udp_timeout": FORGETS_AFTER_S,
    "net.netfilter.nf_conntrack_udp_timeout_stream": FORGETS_AFTER_S,
  });
  const options = { etcdEndpoints: cluster.etcd.endpoints, args: [...args, `--public-ip=${nat.publicIp}`] };
  agent = LabAgent.start(nat.host, { ...launch(nat.host), ...options });
  await agent.untilReady({ peers: 2 });
  behind = await attachPod(nat.host, await agent.untilSubnetEnv());
});

afterAll(async () => {
  await agent?.[Symbol.asyncDispose]();
  await nat?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

it("is reached by all others after it was silent for longer than the NAT box remembers", async () => {
  await untilAllPing([...cluster.pods, behind]);
  await delay(3 * FORGETS_AFTER_S * 1_000); // nobody sends but keepalives
  for (const pod of cluster.pods) expect(await ping(pod.namespace, behind.ipv4 ?? "")).toBeDefined();
});

it("is seen where the NAT box sends from, which stays although the agents look twice a second", async () => {
  for (const { host } of cluster.agents) {
    const peers = (await wgDump(host, "flannel-wg")).peers.filter(({ endpoint }) => endpoint.startsWith(nat.publicIp));
    expect(peers).toHaveLength(1);
    expect(peers[0]?.keepalive).toBe("1");
  }
  expect((await cluster.agent(1).status()).repairs.total).toBe(0);
});

it("shows in the metrics of each peer what was carried and when they last agreed on a key", async () => {
  const { lease } = await agent.status();
  const labels = `peer=${lease?.key.split("/").at(-1)}`;
  const value = async (name: Parameters<LabAgent["metric"]>[0]) => (await cluster.agent(1).metric(name))[labels] ?? 0;
  await until(async () => (await value("flannel_peer_receive_bytes_total")) > 0, { what: "bytes of the peer" });
  expect(await value("flannel_peer_transmit_bytes_total")).toBeGreaterThan(0);
  const agoSeconds = Date.now() / 1_000 - (await value("flannel_peer_last_handshake_timestamp_seconds"));
  expect(agoSeconds).toBeGreaterThan(0);
  expect(agoSeconds).toBeLessThan(180);
});

it("is not reached without a keepalive, until it sends: so the above is the keepalive's", async () => {
  await cluster.etcd.put(configKey, JSON.stringify(configWith(0)));
  for (const host of [...cluster.lan.hosts, nat.host]) {
    const isOff = async () => (await wgDump(host, "flannel-wg")).peers.every(({ keepalive }) => keepalive === "off");
    await until(isOff, { what: `${host.name} to send no keepalives` });
  }
  const [one] = cluster.pods;
  if (one === undefined) throw new Error("there is a container");
  // WireGuard itself answers once more, up to ten seconds after it received something.
  await until(async () => (await ping(one.namespace, behind.ipv4 ?? "")) === undefined, {
    what: "the NAT box to have forgotten the way",
    intervalMs: 3 * FORGETS_AFTER_S * 1_000,
  });
  expect(await ping(behind.namespace, one.ipv4 ?? "")).toBeDefined();
  expect(await ping(one.namespace, behind.ipv4 ?? "")).toBeDefined();
});
