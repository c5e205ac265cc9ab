// Ready is a statement about packets: what the host's own routes, policy rules and settings do to them is seen although every
// object of ours is in place, told with its cause and remedy, and over when it is mended.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { ping, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { Scene } from "../support/scene.ts";
import { leaseKey, leaseValue, putConfig, storePeer } from "../support/store-peers.ts";

let scene: Scene;
let agents: LabAgent[];
let pods: Pod[];

beforeAll(async () => {
  scene = await Scene.open(2);
  await putConfig(scene.etcd);
  // Inherited by flannel.1, which nobody but the agent would set right.
  await host().run(["sysctl", "-qw", "net.ipv4.conf.default.forwarding=0"]);
  agents = [1, 2].map((number) => scene.start(number));
  await Promise.all(agents.map((agent) => agent.untilReady({ peers: 1 })));
  await host().run(["sysctl", "-qw", "net.ipv4.conf.default.forwarding=1"]);
  pods = await Promise.all(agents.map(async (agent) => attachPod(agent.host, await agent.untilSubnetEnv())));
  await untilAllPing(pods);
});

afterAll(() => scene[Symbol.asyncDispose]());

function host() {
  return scene.host(1).namespace;
}

function container(number: number): string {
  return pods[number - 1]?.ipv4 ?? "";
}

/** A moment later than the change: what the agent says is of the kernel as it is now. */
async function untilReason(name: string | undefined) {
  const status = await until(
    async () => {
      const found = await agents[0]?.status();
      const names = found?.reasons.map((reason) => reason.name) ?? [];
      return (name === undefined ? names.length === 0 : names.includes(name)) ? found : undefined;
    },
    { what: `the reason ${name ?? "none"}` },
  );
  return status;
}

async function reaches(): Promise<boolean> {
  const [from] = pods;
  return from !== undefined && (await ping(from.namespace, container(2), { waitSeconds: 0.3 })) !== undefined;
}

it.each([
  [
    "ip_forward",
    "sysctl -qw net.ipv4.ip_forward=0",
    "sysctl -qw net.ipv4.ip_forward=1",
    "forwarding-off",
    /ip-forward-off/,
    /IPv4 forwarding is off/,
  ],
  [
    "forwarding of the bridge",
    "sysctl -qw net.ipv4.conf.BRIDGE.forwarding=0",
    "sysctl -qw net.ipv4.conf.BRIDGE.forwarding=1",
    "forwarding-off",
    /device-sysctl-off/,
    /BRIDGE does not forward IPv4/,
  ],
  [
    "a policy rule of a VPN",
    "ip rule add pref 5270 lookup 52; ip route add 10.0.0.0/8 dev eth0 table 52",
    "ip rule del pref 5270; ip route flush table 52",
    "all-peers-unreachable",
    /policy-rule/,
    /leave through eth0 \(table 52\) instead of flannel\.1/,
  ],
  [
    "a policy rule that prohibits",
    "ip rule add pref 100 to 10.5.0.0/16 prohibit",
    "ip rule del pref 100",
    "all-peers-unreachable",
    /policy-rule/,
    /a prohibit route or rule matches/,
  ],
  [
    "a route to one container",
    "ip route add unreachable POD/32",
    "ip route del unreachable POD/32",
    "peer-unreachable",
    /route-more-specific/,
    /the kernel drops packets for POD of 10\.5/,
  ],
  [
    "a route to one container by another host",
    "ip route add POD/32 via 192.168.50.1",
    "ip route del POD/32",
    "peer-unreachable",
    /route-more-specific/,
    /POD of 10\.5.*leave through eth0 via 192\.168\.50\.1 instead of flannel\.1/,
  ],
  [
    "Docker 28's drop for one container",
    "iptables -t raw -A PREROUTING -d OWN ! -i BRIDGE -j DROP",
    "iptables -t raw -F PREROUTING",
    "container-drop",
    /docker28-raw-drop/,
    /iptables-nft -t raw PREROUTING drops packets from peers .*rule "iifname != BRIDGE ip daddr OWN drop"/,
  ],
  [
    "a policy in a table of another program",
    "nft add table inet z; nft 'add chain inet z f {type filter hook forward priority 0; policy drop;}'",
    "nft delete table inet z",
    "forward-policy",
    /forward-drop/,
    /nft chain inet z f drops forwarded packets \(policy DROP\)/,
  ],
  [
    "the tunnel's port closed",
    "iptables -A INPUT -p udp --dport 8472 -j DROP",
    "iptables -F INPUT",
    "packets-dropped",
    /port-drop/,
    /iptables-nft INPUT drops the tunnel's packets from peers/,
  ],
])(
  "%s",
  async (_, make, undo, reason, finding, evidence) => {
    const { ifname } = (await host().ipJson("link", "show", "type", "bridge"))[0] ?? {};
    const fill = (text: string) =>
      text.replaceAll("BRIDGE", String(ifname)).replaceAll("POD", container(2)).replaceAll("OWN", container(1));
    await host().run(["sh", "-c", fill(make)]);
    const status = await untilReason(reason);
    expect(await reaches()).toBe(false);
    const told = status.findings.filter(({ name }) => finding.test(name));
    expect(told.map((found) => found.evidence).join("\n")).toMatch(new RegExp(fill(evidence.source)));
    expect(told.every(({ remedy }) => remedy !== "")).toBe(true);
    await host().run(["sh", "-c", fill(undo)]);
    await untilReason(undefined);
    await until(reaches, { what: "packets" });
  },
  120_000,
);

it("what the kernel says is told without being asked, in the log and by health checks", async () => {
  await host().run(["ip", "rule", "add", "pref", "100", "to", "10.5.0.0/16", "prohibit"]);
  expect(await agents[0]?.untilEvent("agent.not-ready")).toContain("1 of 1 peer unreachable");
  await host().run(["ip", "rule", "del", "pref", "100"]);
  await untilReason(undefined);
});

it("one peer whose host has no way is one of two; the other is reached", async () => {
  const lost = storePeer(77, { publicIp: "192.0.2.77" });
  await scene.etcd.put(leaseKey(lost), leaseValue(lost));
  await untilReason(undefined);
  await host().run(["ip", "route", "add", "unreachable", "192.0.2.77/32"]);
  const { reasons } = await untilReason("peer-unreachable");
  expect(reasons[0]?.message).toMatch(
    /^1 of 2 peers unreachable: the kernel has no way to 192\.0\.2\.77, the host of 10\.5\./,
  );
  expect(await reaches()).toBe(true);
  const isTold = () =>
    agents[0]?.events("agent.degraded").some((line) => line.includes("1 of 2 peers unreachable: the kernel"));
  await until(() => isTold() === true, { what: "the log to tell it" });
});
