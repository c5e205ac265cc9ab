// The udp backend beside hosts that know only the plain wire format, and with IPv6.
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { addresses, link, routes } from "../../lab/kernel-view.ts";
import { OnePacketPeer } from "../../lab/one-packet-peer.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { ContinuousPing, ping, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { echoesEverySize, streamsUnharmed, transfersUnharmed } from "../support/traffic.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));

it("exchanges packets with a peer that moves them one by one, and leaves it the host", async () => {
  const config = { Network: "10.5.0.0/16", Backend: { Type: "udp" } };
  await using cluster = await Cluster.start({ hosts: 2, config, withoutAgent: [2] });
  const own = (await cluster.agent(1).status()).lease?.subnet ?? "";
  const subnet = own === "10.5.77.0/24" ? "10.5.78.0/24" : "10.5.77.0/24";
  const other = cluster.lan.host(2);
  const peers = new Map([[own, cluster.lan.host(1).ipv4 ?? ""]]);
  await using peer = await OnePacketPeer.start(other, { subnet, network: "10.5.0.0/16", peers });
  const lease = JSON.stringify({ PublicIP: other.ipv4, PublicIPv6: null });
  const key = `/coreos.com/network/subnets/${subnet.replace("/", "-")}`;
  await cluster.etcd.put(key, lease, await cluster.etcd.grant(3_600));
  await cluster.agent(1).untilReady({ peers: 1 });
  const theirs = await attachPod(other, peer.subnetEnv);
  const ours = cluster.pod(1);
  await untilAllPing([ours, theirs]);
  const [here, there] = [ours.namespace, theirs.namespace];
  expect(await transfersUnharmed(here, there, theirs.ipv4 ?? "", 100_000_000)).toBe(true);
  expect(await transfersUnharmed(there, here, ours.ipv4 ?? "", 100_000_000)).toBe(true);
  expect(await echoesEverySize(here, there, theirs.ipv4 ?? "", 0, 1474)).toBe("1475 of 1475 back, 0 wrong");
  expect(await echoesEverySize(there, here, ours.ipv4 ?? "", 0, 1474)).toBe("1475 of 1475 back, 0 wrong");
  for (const streams of [8, 64])
    expect(await streamsUnharmed(here, there, theirs.ipv4 ?? "", streams, 1_000_000)).toBe(
      `${streams} of ${streams} unharmed`,
    );
  expect(await ping(here, theirs.ipv4 ?? "", { payloadBytes: 1444 })).toBeGreaterThan(0);
  await handsOver(cluster, own, [ours, theirs], new Map([[subnet, other.ipv4 ?? ""]]));
});

/** Host 1 to a program that, as upstream, makes the first free device and takes a route that is there for its own. */
async function handsOver(
  cluster: Cluster,
  subnet: string,
  pods: readonly [Pod, Pod],
  peers: ReadonlyMap<string, string>,
): Promise<void> {
  const agent = cluster.agent(1);
  const { host } = agent;
  const flags = [`--subnet-file=${agent.subnetFile}`, `--state-dir=${agent.directory}/state`];
  const handover = () => host.namespace.tryRun([flannelctl, "handover", ...flags, "--json"]);
  const takeOver = () => OnePacketPeer.start(host, { subnet, network: "10.5.0.0/16", peers });
  const expectReleased = async (through: string) => {
    const { stdout, stderr } = await handover();
    expect(JSON.parse(stdout), stderr).toMatchObject({
      networks: [{ rewrittenRoutes: 0, releasedDevices: ["flannel0"] }],
      through,
    });
  };

  // Through the agent: packets flow until it stops.
  await using traffic = await ContinuousPing.start(pods[0].namespace, pods[1].ipv4 ?? "");
  await expectReleased("agent");
  await traffic.more(50);
  expect((await traffic.stop()).lost).toEqual([]);
  expect((await agent.status()).repairs.total).toBe(0);
  await agent.term();
  expect(await link(host.namespace, "flannel0")).toBeUndefined();
  {
    await using upstream = await takeOver();
    expect(upstream.device).toBe("flannel0");
    await untilAllPing(pods);
    // A device that a process holds may be its own.
    const refused = await handover();
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain("another process uses the device");
    await untilAllPing(pods);
  }

  // Back, and without an agent.
  const again = cluster.startAgent(1);
  await again.untilReady({ peers: 1 });
  await untilAllPing(pods);
  await again.kill9();
  await expectReleased("kernel");
  await using upstream = await takeOver();
  expect(upstream.device).toBe("flannel0");
  await untilAllPing(pods);
}

it("carries IPv6 between hosts that announce it, and gives containers the MTU of IPv4", async () => {
  const config = {
    Network: "10.5.0.0/16",
    EnableIPv6: true,
    IPv6Network: "fd00:5::/48",
    Backend: { Type: "udp" },
  };
  await using cluster = await Cluster.start({ hosts: 2, ipv6: true, config });
  const [first, second] = [cluster.pod(1), cluster.pod(2)];
  expect(first.mtuBytes).toBe(1472);
  await untilAllPing(cluster.pods);
  const { lease } = await cluster.agent(1).status();
  const entries = await cluster.etcd.list("/coreos.com/network/subnets/");
  // In upstream's order of keys.
  expect(entries.map(({ value }) => value).find((value) => value.includes("192.168.50.11"))).toBe(
    '{"PublicIP":"192.168.50.11","PublicIPv6":"fd00:50::11","BackendV6Data":{"Port":8285}}',
  );
  const { namespace } = cluster.lan.host(1);
  expect(await routes(namespace)).toContain("fd00:5::/48 dev flannel0 metric 1024 mtu 1452 pref medium");
  expect(await addresses(namespace, "flannel0")).toContain(`${lease?.ipv6Subnet?.split("/")[0]}/128`);
  const target = second.ipv6 ?? "";
  expect(await transfersUnharmed(first.namespace, second.namespace, target, 200_000_000)).toBe(true);
  expect(await echoesEverySize(first.namespace, second.namespace, target, 0, 1454)).toBe("1455 of 1455 back, 0 wrong");
  expect(await streamsUnharmed(first.namespace, second.namespace, target, 64, 1_000_000)).toBe("64 of 64 unharmed");
  await first.namespace.run(["ping", "-n", "-c", "1", "-W", "2", "-s", "65000", target]);
  const lost = await first.namespace.tryRun(["ping", "-n", "-c", "1", "-W", "2", "fd00:5:0:ffff::9"]);
  expect(lost.stdout).toContain("No route");
});

it("carries IPv6 alone", async () => {
  const config = { EnableIPv4: false, EnableIPv6: true, IPv6Network: "fd00:5::/48", Backend: { Type: "udp" } };
  await using cluster = await Cluster.start({ hosts: 2, ipv4: false, ipv6: true, config });
  await untilAllPing(cluster.pods);
  const [first, second] = [cluster.pod(1), cluster.pod(2)];
  expect(await transfersUnharmed(first.namespace, second.namespace, second.ipv6 ?? "", 20_000_000)).toBe(true);
  const [entry] = await cluster.etcd.list("/coreos.com/network/subnets/");
  expect(JSON.parse(entry?.value ?? "")).toMatchObject({ BackendV6Data: { Port: 8285 } });
});

it("uses no IPv6 with a host that does not announce it, and IPv4 all the same", async () => {
  const config = {
    Network: "10.5.0.0/16",
    EnableIPv6: true,
    IPv6Network: "fd00:5::/48",
    Backend: { Type: "udp" },
  };
  await using cluster = await Cluster.start({ hosts: 2, ipv6: true, config, withoutAgent: [2] });
  const own = (await cluster.agent(1).status()).lease?.subnet ?? "";
  const third = own === "10.5.77.0/24" ? 78 : 77;
  const subnet = `10.5.${third}.0/24`;
  const other = cluster.lan.host(2);
  const peers = new Map([[own, cluster.lan.host(1).ipv4 ?? ""]]);
  await using peer = await OnePacketPeer.start(other, { subnet, network: "10.5.0.0/16", peers });
  // As upstream's would be, were it to do IPv6: addresses, and nothing of a port.
  const lease = JSON.stringify({ PublicIP: other.ipv4, PublicIPv6: other.ipv6 });
  const key = `/coreos.com/network/subnets/10.5.${third}.0-24&fd00:5:0:${third}::-64`;
  await cluster.etcd.put(key, lease, await cluster.etcd.grant(3_600));
  await until(async () => (await cluster.agent(1).status()).peers.programmed === 1, { what: "the peer" });
  const theirs = await attachPod(other, peer.subnetEnv);
  const ours = cluster.pod(1);
  await untilAllPing([ours, { ...theirs, ipv6: undefined }]);
  const lost = await ours.namespace.tryRun(["ping", "-n", "-c", "1", "-W", "2", `fd00:5:0:${third}::2`]);
  expect(lost.stdout).toContain("No route");
  expect((await cluster.agent(1).status()).peers.skipped).toEqual([
    expect.objectContaining({ reason: "announces no IPv6 port, so it does not receive IPv6 packets" }),
  ]);
});
