// Runs on a kernel that has ESP: whole agents with the ipsec backend on three hosts and upstream's own program on a fourth;
// everything in the kernel damaged and healed, restarted under traffic, keys and settings changed while all runs, another backend
// and back. Prints one line of JSON for each question; ipsec-agents-kernel.test.ts asks and judges.
import { existsSync } from "node:fs";
import { Cluster } from "../../../lab/cluster.ts";
import {
  charonPidOf,
  connectionsOf,
  ipsecAgent,
  swanctl,
  terminateAssociations,
  withOwnRun,
} from "../../../lab/ipsec-host.ts";
import { attachPod } from "../../../lab/pod.ts";
import { ContinuousPing, ping, pingAll, untilAllPing } from "../../../lab/probe.ts";
import { UpstreamAgent } from "../../../lab/upstream-agent.ts";
import { until } from "../../../lab/wait.ts";
import { Program, restartAllWays } from "../../support/restarts.ts";
import { transfersUnharmed } from "../../support/traffic.ts";
import { tell, tellHealing, timeOfLook } from "./guest.ts";

const configKey = "/coreos.com/network/config";
const network = { Network: "10.5.0.0/16" };
const first = { Type: "ipsec", PSK: "first-secret-".repeat(8) };
const second = { ...first, PSK: "second-secret-".repeat(8) };
// This kernel has no nf_tables of the family ip.
const args = ["--iptables-forward-rules=false"];

const program = new Program();
await using cluster = await Cluster.start({
  ...{ hosts: 4, withoutAgent: [4], config: { ...network, Backend: first }, args },
  launch: (host) => ipsecAgent(host, program.flanneld),
});
const { host } = cluster.agent(1);
const xfrm = (...words: readonly string[]) => host.namespace.ip("xfrm", ...words);
const [from, to] = [cluster.pod(1), cluster.pod(2)];

const policies = async () =>
  (await xfrm("policy"))
    .split(/\n(?=src)/)
    .map((block) => block.trim())
    .filter((block) => block.includes("10.5."))
    .sort()
    .join("\n");

const setConfig = (backend: object) => cluster.etcd.put(configKey, JSON.stringify({ ...network, Backend: backend }));

/** All agents have taken up a change, once more than before. */
async function change(backend: object): Promise<void> {
  const before = cluster.agents.map((agent) => agent.events("config.applied").length);
  await setConfig(backend);
  await Promise.all(cluster.agents.map((agent, at) => agent.untilEvent("config.applied", { after: before[at] ?? 0 })));
}

await untilAllPing(cluster.pods);
tell("pairs", (await pingAll(cluster.pods)).length);
const sizes = await Promise.all(
  [1423 - 28, 1424 - 28].map((payloadBytes) => ping(from.namespace, to.ipv4 ?? "", { payloadBytes })),
);
tell(
  "largest packet",
  sizes.map((time) => time !== undefined),
);

tell("stream", await transfersUnharmed(from.namespace, to.namespace, to.ipv4 ?? "", 2_000_000));

const out = /src (\S+) dst (\S+)[^\n]*\n\tdir out/.exec(await xfrm("policy")) ?? [];
const selector = ["src", out[1] ?? "", "dst", out[2] ?? "", "dir", "out"];
const stale = ["src", "10.5.250.0/24", "dst", out[2] ?? "", "dir", "out"];
const template = [
  "tmpl",
  "src",
  "192.168.50.11",
  "dst",
  "192.168.50.99",
  "proto",
  "esp",
  "reqid",
  "11",
  "mode",
  "tunnel",
];
const ip = (...words: readonly string[]) => host.namespace.ip(...words);
await tellHealing(
  [
    ["policy deleted", ["xfrm", "policy", "delete", ...selector]],
    ["policy led elsewhere", ["xfrm", "policy", "update", ...selector, ...template]],
    ["policy blocks", ["xfrm", "policy", "update", ...selector, "action", "block"]],
    ["policy left behind", ["xfrm", "policy", "add", ...stale, ...template]],
    ["policies flushed", ["xfrm", "policy", "flush"]],
  ],
  ip,
  policies,
  cluster.agent(1),
);
await untilAllPing(cluster.pods);

// Keys that somebody deletes: charon does not look.
for (const what of ["one key deleted", "keys flushed"]) {
  await using traffic = await ContinuousPing.start(from.namespace, to.ipv4 ?? "");
  const id = /src (\S+) dst (\S+)\n\tproto esp spi (\S+)/.exec(await xfrm("state")) ?? [];
  if (what === "keys flushed") await xfrm("state", "flush");
  else await xfrm("state", "delete", "src", id[1] ?? "", "dst", id[2] ?? "", "proto", "esp", "spi", id[3] ?? "");
  await cluster.agent(1).untilEvent("ipsec.association-lost", { after: what === "keys flushed" ? 1 : 0 });
  await traffic.more(20);
  tell(what, { healedMs: Math.round((await traffic.stop()).longestSilenceMs), lookMs: await timeOfLook(policies) });
  await untilAllPing(cluster.pods);
}

// What another program takes out of charon.
for (const [at, [what, ...words]] of [
  ["connections unloaded", "--load-conns"] as const,
  ["all unloaded", "--load-all", "--clear", "--noprompt"] as const,
].entries()) {
  const view = async () => (await connectionsOf(host)).join();
  const before = await view();
  const lookMs = await timeOfLook(view);
  await swanctl(host, ...words, "--file", "/dev/null");
  const startMs = performance.now();
  await cluster.agent(1).untilEvent("ipsec.unloaded", { after: at });
  await until(async () => (await view()) === before, { what: `${what} to be healed` });
  tell(what, { healedMs: Math.round(performance.now() - startMs), lookMs });
}

tell("restarts", await restartAllWays(cluster, program, [to.ipv4, cluster.pod(3).ipv4]));

// Another key for all, while packets flow; what is negotiated from now on takes it.
{
  await using traffic = await ContinuousPing.start(from.namespace, to.ipv4 ?? "");
  await change(second);
  await traffic.more(50);
  tell("another PSK", { lost: (await traffic.stop()).lost.length });
  await terminateAssociations(host);
  await untilAllPing(cluster.pods);
  const refused = cluster.agents.flatMap((agent) => agent.events("ipsec.refused"));
  tell("refused after the change", refused.filter((line) => line.includes("PSK")).length);
}

// Upstream's own program, with the new key.
{
  const fourth = cluster.lan.host(4);
  await using upstream = await UpstreamAgent.start(fourth, {
    ...{ etcdEndpoints: cluster.etcd.endpoints, hasLegacyIptables: true },
    wrap: (argv) => withOwnRun(fourth, argv),
  });
  const pod = await attachPod(fourth, await upstream.subnetEnv());
  await untilAllPing([...cluster.pods, pod]);
  tell("pairs with upstream", (await pingAll([...cluster.pods, pod])).length);
  await upstream.stop();
}

// ESP in UDP from now on, and another algorithm.
const udp = { ...second, UDPEncap: true, ESPProposal: "aes128gcm16-modp2048" };
await change(udp);
await untilAllPing(cluster.pods);
const inUdp = async () => {
  const states = await xfrm("state");
  return states.includes("encap type espinudp") ? states : undefined;
};
tell("UDPEncap", (await until(inUdp, { what: "ESP in UDP" })).includes("sport 4500 dport 4500"));

// Another backend, and back.
const restartAll = async () => {
  for (const number of [1, 2, 3]) {
    await cluster.agent(number).term();
    cluster.startAgent(number);
  }
  for (const number of [1, 2, 3]) await cluster.agent(number).untilReady();
};
const charonPid = charonPidOf(host);
await setConfig({ Type: "host-gw" });
await restartAll();
await untilAllPing(cluster.pods);
tell("left by ipsec", {
  policies: await policies(),
  states: (await xfrm("state")).includes("reqid 11"),
  charon: existsSync(`/proc/${charonPid}`),
});
await setConfig(second);
await restartAll();
await untilAllPing(cluster.pods);
tell("left by host-gw", (await ip("route")).includes(" proto 241"));
tell("again with ipsec", (await policies()).split("\n").filter((line) => line.startsWith("src")).length);

// charon itself, at last: what it made stays in the kernel until it expires, and carries packets until there are other keys.
for (const [what, signal] of [
  ["charon killed", "SIGKILL"],
  ["charon stopped", "SIGTERM"],
] as const) {
  const before = charonPidOf(host);
  const pairs = cluster.agents.length - 1;
  const established = async () =>
    new Set((await swanctl(host, "--list-sas")).match(/^\S+(?=: #\d+, ESTABLISHED)/gm) ?? []).size === pairs;
  await using traffic = await ContinuousPing.start(from.namespace, to.ipv4 ?? "");
  const lookMs = await timeOfLook(established);
  process.kill(before, signal);
  const startMs = performance.now();
  await until(() => charonPidOf(host) !== before && established(), { what: "other associations" });
  const healedMs = Math.round(performance.now() - startMs);
  await traffic.more(20);
  const { lost, longestSilenceMs } = await traffic.stop();
  tell(what, { healedMs, lookMs, lost: lost.length, silentMs: Math.round(longestSilenceMs) });
  await untilAllPing(cluster.pods);
}
tell("secrets said", cluster.agents.filter(({ output }) => /(first|second)-secret/.test(output)).length);
tell("done", true);
