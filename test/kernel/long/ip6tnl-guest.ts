// Runs on a kernel that has ipip and ip6tnl: the ipip backend with both families, one of its hosts behind a router, then with IPv6
// alone. Prints one line of JSON for each question; ip6tnl-kernel.test.ts asks and judges.
import { fileURLToPath } from "node:url";
import { Cluster } from "../../../lab/cluster.ts";
import { leaseEntryOf } from "../../../lab/lease-view.ts";
import { ContinuousPing, ping, pingAll, untilAllPing } from "../../../lab/probe.ts";
import { until } from "../../../lab/wait.ts";
import { Program, restartAllWays } from "../../support/restarts.ts";
import { transfersUnharmed } from "../../support/traffic.ts";
import { tell, tellHealing } from "./guest.ts";

const configKey = "/coreos.com/network/config";
const ipv6 = { EnableIPv6: true, IPv6Network: "fd00:5::/48" };
const config = { Network: "10.5.0.0/16", ...ipv6, Backend: { Type: "ipip" } };
const device = "flannel.ip6tnl";
// This kernel has no nf_tables of the family ip.
const args = ["--iptables-forward-rules=false"];

{
  const program = new Program();
  await using cluster = await Cluster.start({
    ...{ hosts: 2, routedHosts: 1, ipv6: true },
    ...{ config, args, launch: program.launch },
  });
  const { host } = cluster.agent(1);
  const ip = (...words: readonly string[]) => host.namespace.ip(...words);
  const [from, near, far] = [cluster.pod(1), cluster.pod(2), cluster.pod(3)];

  const routes = async () => (await ip("-6", "route", "show", "dev", device)).split("\n");
  const view = async (): Promise<string> => {
    const shown = await ip("-d", "link", "show", "dev", device).catch(() => "no device");
    const link = shown.replace(/^\d+: /, "").replace(/ (qdisc|promiscuity|state|permaddr) .*$/gm, "");
    const addresses = await ip("-6", "address", "show", "dev", device, "scope", "global").catch(() => "none");
    const found = (await routes().catch(() => [])).filter((line) => line.includes("encap")).sort();
    return [link, addresses.replace(/^\d+: .*\n/, ""), ...found].join("\n");
  };

  await untilAllPing(cluster.pods);
  tell("pairs", (await pingAll(cluster.pods)).length);
  tell("lease", JSON.parse((await leaseEntryOf(cluster.etcd, host.ipv4 ?? "")).value));
  const payloadBytes = 1460 - 48;
  const largest = await Promise.all([near, far].map((pod) => ping(from.namespace, pod.ipv6 ?? "", { payloadBytes })));
  tell("largest packets", largest.filter((time) => time !== undefined).length);
  tell("stream", await transfersUnharmed(from.namespace, far.namespace, far.ipv6 ?? "", 2_000_000));
  const before = await view();
  tell("view", before.split("\n"));
  tell("ip6tnl0", (await ip("link", "show", "dev", "ip6tnl0")).includes("DOWN"));

  const peerRoute = /^fd00:5:\S+\/64 +encap .*$/m.exec(before)?.[0] ?? "";
  const subnet = peerRoute.split(" ")[0] ?? "";
  const address = /inet6 (fd00:5:\S+)/.exec(before)?.[1] ?? "";
  const elsewhere = ["encap", "ip6", "dst", "fd00:50::99", "dev", device];
  await tellHealing(
    [
      ["device deleted", ["link", "delete", "dev", device]],
      ["device down", ["link", "set", "dev", device, "down"]],
      ["mtu changed", ["link", "set", "dev", device, "mtu", "1300"]],
      ["addresses changed", ["-6", "tunnel", "change", device, "mode", "ip6ip6", "remote", "fd00:50::99"]],
      ["address deleted", ["-6", "address", "delete", address, "dev", device]],
      ["route deleted", ["-6", "route", "delete", subnet]],
      ["route led elsewhere", ["-6", "route", "replace", subnet, ...elsewhere]],
      ["route replaced", ["-6", "route", "replace", subnet, "dev", "lo"]],
      ["routes flushed", ["-6", "route", "flush", "dev", device]],
    ],
    ip,
    view,
    cluster.agent(1),
  );
  await untilAllPing(cluster.pods);
  const refused = cluster.agent(1).output.split("\n");
  tell(
    "refused",
    refused.filter((line) => line.includes("event=host.failed")),
  );
  tell("restarts", await restartAllWays(cluster, program, [near.ipv4, near.ipv6, far.ipv6]));

  // Plain routes to the near host, and back into the tunnel, which the kernel refuses unless it is told that the next hop is there.
  const plain = async () =>
    (await ip("-6", "route")).split("\n").filter((line) => /^fd00:5:.* via fd00:50::\d+ dev eth0/.test(line));
  await using traffic = await ContinuousPing.start(from.namespace, near.ipv6 ?? "");
  for (const DirectRouting of [true, false]) {
    await cluster.etcd.put(configKey, JSON.stringify({ ...config, Backend: { Type: "ipip", DirectRouting } }));
    await until(async () => (await plain()).length === (DirectRouting ? 1 : 0), { what: "other routes" });
    if (DirectRouting)
      tell("direct", {
        plain: await plain(),
        tunnel: (await routes()).filter((line) => line.includes("encap")).length,
      });
  }
  await until(async () => (await view()) === before, { what: "all to be as before" });
  await traffic.more(10);
  tell("changes of DirectRouting", { lost: (await traffic.stop()).lost.length });
  await untilAllPing(cluster.pods);

  // A host of another making that has an IPv6 subnet and tells of no tunnel: a crash of nobody, and said.
  const value = { PublicIP: "192.168.60.99", PublicIPv6: "fd00:60::99", BackendType: "ipip" };
  await cluster.etcd.put("/coreos.com/network/subnets/10.5.250.0-24&fd00:5:0:fa::-64", JSON.stringify(value));
  const { peers } = await until(
    async () => {
      const status = await cluster.agent(1).status();
      return status.peers.known === 3 ? status : undefined;
    },
    { what: "the foreign host" },
  );
  tell("foreign host", peers.skipped);
  await cluster.etcd.delete("/coreos.com/network/subnets/10.5.250.0-24&fd00:5:0:fa::-64");

  // IPv6 turned off: nothing of it stays. And a clean-up leaves nothing at all.
  await cluster.etcd.put(configKey, JSON.stringify({ Network: config.Network, Backend: config.Backend }));
  await cluster.agent(1).term();
  await cluster.startAgent(1).untilReady();
  tell("turned off", {
    ip6tnl: (await view()).includes("no device"),
    ipip: (await ip("link", "show", "dev", "flannel.ipip")) !== "",
  });
  await cluster.agent(2).term();
  const flannelctl = fileURLToPath(new URL("../../../bin/flannelctl", import.meta.url));
  const second = cluster.agent(2);
  const files = [`--subnet-file=${second.subnetFile}`, `--state-dir=${second.directory}/state`];
  const cleaned = await second.host.namespace.run([flannelctl, "cleanup", ...files]);
  tell("cleaned up", cleaned.split("\n").filter((line) => line.includes("flannel.")).length);
  tell("left", /encap|flannel\./.test(await second.host.namespace.ip("-6", "route")));
}

{
  const only = { EnableIPv4: false, ...ipv6, Backend: { Type: "ipip" } };
  await using cluster = await Cluster.start({ hosts: 2, ipv6: true, config: only, args });
  await untilAllPing(cluster.pods);
  const links = await cluster.agent(1).host.namespace.ip("link", "show");
  tell("IPv6 alone", {
    pairs: (await pingAll(cluster.pods)).length,
    mtuBytes: cluster.pod(1).mtuBytes,
    hasIpip: links.includes("flannel.ipip"),
  });
}
tell("done", true);
