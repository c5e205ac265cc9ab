// Runs on a kernel that has ipip: three hosts with agents and containers, damaged and healed, restarted under traffic. Prints
// one line of JSON for each question; ipip-kernel.test.ts asks and judges.
import { Cluster } from "../../../lab/cluster.ts";
import { attachPod } from "../../../lab/pod.ts";
import { ContinuousPing, measureThroughput, ping, pingAll, untilAllPing } from "../../../lab/probe.ts";
import { UpstreamAgent } from "../../../lab/upstream-agent.ts";
import { until } from "../../../lab/wait.ts";
import { Program, restartAllWays } from "../../support/restarts.ts";
import { tell, tellHealing } from "./guest.ts";

const configKey = "/coreos.com/network/config";
const config = { Network: "10.5.0.0/16", Backend: { Type: "ipip" } };

// This kernel has no nf_tables of the family ip.
const program = new Program();
const args = ["--iptables-forward-rules=false"];
await using cluster = await Cluster.start({ hosts: 4, withoutAgent: [4], config, args, launch: program.launch });
const { host } = cluster.agent(1);
const ip = (...words: readonly string[]) => host.namespace.ip(...words);
const [from, to] = [cluster.pod(1), cluster.pod(2)];

async function view(): Promise<string> {
  const device = await ip("-d", "link", "show", "dev", "flannel.ipip").catch(() => "no device");
  const shown = device.replace(/^\d+: /, "").replace(/ (qdisc|promiscuity|state) .*$/gm, "");
  return [shown, await ip("address", "show", "dev", "flannel.ipip", "scope", "global"), await ip("route")]
    .join("\n")
    .replaceAll(/^\d+: flannel.*\n/gm, "");
}

await untilAllPing(cluster.pods);
tell("pairs", (await pingAll(cluster.pods)).length);
const largest = await ping(from.namespace, to.ipv4 ?? "", { payloadBytes: 1480 - 28 });
const tooLarge = await ping(from.namespace, to.ipv4 ?? "", { payloadBytes: 1480 - 27 });
tell("largest packet", { arrives: largest !== undefined, largerArrives: tooLarge !== undefined });
tell("view", (await view()).split("\n"));
tell("tunl0", (await ip("link", "show", "dev", "tunl0")).includes("DOWN"));

const before = await view();
const peerRoute = /^10\.5\.\d+\.0\/24 via .* dev flannel\.ipip onlink/m.exec(before)?.[0] ?? "";
const address = /inet (\S+)/.exec(before)?.[1] ?? "";
const damages: readonly (readonly [string, readonly string[]])[] = [
  ["device deleted", ["link", "delete", "dev", "flannel.ipip"]],
  ["device down", ["link", "set", "dev", "flannel.ipip", "down"]],
  ["mtu changed", ["link", "set", "dev", "flannel.ipip", "mtu", "1400"]],
  ["local changed", ["tunnel", "change", "flannel.ipip", "mode", "ipip", "local", "192.0.2.77"]],
  ["ttl changed", ["link", "set", "dev", "flannel.ipip", "type", "ipip", "ttl", "7", "pmtudisc"]],
  ["address deleted", ["address", "delete", address, "dev", "flannel.ipip"]],
  ["route deleted", ["route", "delete", ...peerRoute.split(" ").slice(0, 1)]],
  ["route replaced", ["route", "replace", peerRoute.split(" ")[0] ?? "", "dev", "lo"]],
  ["routes flushed", ["route", "flush", "dev", "flannel.ipip"]],
];
await tellHealing(damages, ip, view, cluster.agent(1));
await untilAllPing(cluster.pods);
tell(
  "refused",
  cluster
    .agent(1)
    .output.split("\n")
    .filter((line) => line.includes("event=host.failed")),
);

tell("restarts", await restartAllWays(cluster, program, [to.ipv4]));

tell("bits per second", await measureThroughput(from, to, 1));

// A device that upstream left is taken over as it is; one with a single peer, which cannot be changed into one for all, is not.
const third = cluster.lan.host(3);
const indexOf = async (): Promise<unknown> =>
  JSON.parse(await third.namespace.ip("-j", "link", "show", "dev", "flannel.ipip"))[0].ifindex;
for (const [what, ...remote] of [["device of upstream"], ["device with one peer", "remote", "192.0.2.77"]] as const) {
  await cluster.agent(3).term();
  await third.namespace.ip("link", "delete", "dev", "flannel.ipip");
  const words = ["mtu", "1480", "type", "ipip", "local", third.ipv4 ?? "", ...remote, "ttl", "0", "nopmtudisc"];
  await third.namespace.ip("link", "add", "dev", "flannel.ipip", ...words);
  const index = await indexOf();
  await cluster.startAgent(3).untilReady({ peers: 2 });
  tell(what, { isKept: (await indexOf()) === index });
}
await untilAllPing(cluster.pods);

// Upstream's own program on a fourth host; then ours in its place, and upstream again.
const fourth = cluster.lan.host(4);
const startUpstream = () =>
  UpstreamAgent.start(fourth, { etcdEndpoints: cluster.etcd.endpoints, hasLegacyIptables: true });
{
  const upstream = await startUpstream();
  const pod = await attachPod(fourth, await upstream.subnetEnv());
  await untilAllPing([...cluster.pods, pod]);
  tell("pairs with upstream", (await pingAll([...cluster.pods, pod])).length);
  const index = async () =>
    JSON.parse(await fourth.namespace.ip("-j", "link", "show", "dev", "flannel.ipip"))[0].ifindex;
  const before = await index();
  await using traffic = await ContinuousPing.start(from.namespace, pod.ipv4 ?? "");
  await upstream.stop();
  await cluster.startAgent(4).untilReady({ peers: 3 });
  await traffic.more(10);
  await cluster.agent(4).term();
  await using again = await startUpstream();
  await traffic.more(10);
  tell("upstream's host", { lost: (await traffic.stop()).lost.length, isKept: (await index()) === before });
  await untilAllPing([...cluster.pods, pod]);
  await again.stop();
}

await cluster.etcd.put(configKey, JSON.stringify({ ...config, Backend: { Type: "ipip", DirectRouting: true } }));
await until(async () => (await ip("route")).includes("dev eth0 proto 241 onlink"), { what: "plain routes" });
await untilAllPing(cluster.pods);
tell(
  "direct routes",
  (await ip("route")).split("\n").filter((line) => line.includes("onlink")),
);

// From one backend to another, host by host.
await cluster.etcd.put(configKey, JSON.stringify({ ...config, Backend: { Type: "host-gw" } }));
{
  await using traffic = await ContinuousPing.start(from.namespace, to.ipv4 ?? "");
  await cluster.agent(1).term();
  await cluster.startAgent(1).untilReady({ peers: 3 });
  await untilAllPing(cluster.pods);
  await traffic.more(10);
  tell("one host with host-gw", { lost: (await traffic.stop()).lost.length });
}
tell("done", true);
