// The examples of examples/extension, as they are shipped, on hosts of the lab: containers reach each other, a restart and a
// kill lose nothing, a peer that goes is removed.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import type { LabHost } from "../../lab/host.ts";
import { leaseEntryOf, readLease } from "../../lab/lease-view.ts";
import { ping, pingAll, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { wgDump, wireguardAgent } from "../../lab/wireguard-host.ts";
import { Program, restartAllWays } from "../support/restarts.ts";
import { transfersUnharmed } from "../support/traffic.ts";

interface Example {
  readonly file: string;
  readonly hosts: number;
  /** The largest packet of containers, IP header included. */
  readonly mtuBytes: number;
  /** Set where IPv6 is one of them. */
  readonly families?: 1 | 2;
  /** What is on a host because of a peer with this subnet and public IP. */
  readonly traces: (host: LabHost, subnet: string, publicIp: string) => Promise<boolean>;
}

const hasIpv6Route = async (host: LabHost, subnet: string) =>
  (await host.namespace.ip("-6", "route", "show", subnet)) !== "";
const hasRoute = async (host: LabHost, subnet: string) => (await host.namespace.ip("route", "show", subnet)) !== "";
const examples: readonly Example[] = [
  { file: "host-gw", hosts: 2, mtuBytes: 1500, traces: hasRoute },
  { file: "host-gw-dual-stack", hosts: 2, mtuBytes: 1500, families: 2, traces: hasRoute },
  { file: "host-gw-ipv6", hosts: 2, mtuBytes: 1500, families: 1, traces: hasIpv6Route },
  {
    file: "vxlan",
    hosts: 2,
    mtuBytes: 1450,
    traces: async ({ namespace }, _, publicIp) =>
      (await namespace.run(["bridge", "fdb", "show", "dev", "vxlan-ext"])).includes(publicIp),
  },
  {
    file: "wireguard",
    hosts: 2,
    mtuBytes: 1420,
    traces: async (host, subnet) =>
      (await wgDump(host, "wg-ext")).peers.some(({ allowedIps }) => allowedIps.includes(subnet)),
  },
];

describe.each(examples)("the example $file", ({ file, hosts, mtuBytes, families, traces }) => {
  it("connects containers, survives restarts without loss, and removes who goes", async () => {
    const config = JSON.parse(readFileSync(`examples/extension/${file}.json`, "utf8"));
    const program = new Program();
    const launch = (host: LabHost) => {
      const { program: argv, keyFile } = wireguardAgent(host, program.flanneld);
      return { program: argv, env: { WIREGUARD_KEY_FILE: keyFile } };
    };
    await using cluster = await Cluster.start({ hosts, config, launch, ipv6: families !== undefined });
    await untilAllPing(cluster.pods);
    expect(await pingAll(cluster.pods)).toHaveLength(hosts * (hosts - 1) * (families ?? 1));
    const [from, to] = [cluster.pod(1), cluster.pod(2)];
    const [address, headerBytes] = to.ipv4 === undefined ? [to.ipv6 ?? "", 48] : [to.ipv4, 28];
    expect(await ping(from.namespace, address, { payloadBytes: mtuBytes - headerBytes })).toBeDefined();
    expect(await transfersUnharmed(from.namespace, to.namespace, address, 2_000_000)).toBe(true);
    // An upgrade is alike for all.
    const isUpgraded = file === "host-gw";
    const report = await restartAllWays(cluster, isUpgraded ? program : undefined, [address]);
    expect(report).toEqual({ lost: [0], isUpgraded });
    const { host } = cluster.agent(1);
    const publicIp = cluster.agent(2).host[to.ipv4 === undefined ? "ipv6" : "ipv4"] ?? "";
    const entry = await leaseEntryOf(cluster.etcd, publicIp);
    const { subnet: ipv4Subnet, ipv6Subnet } = readLease(entry);
    const subnet = ipv4Subnet ?? ipv6Subnet ?? "";
    expect(await traces(host, subnet, publicIp)).toBe(true);
    await cluster.agent(2).term();
    await cluster.etcd.delete(entry.key);
    await until(async () => !(await traces(host, subnet, publicIp)), { what: "the peer to be removed" });
  });
});
