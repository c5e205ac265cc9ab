// The examples of examples/extension, as they are shipped, on hosts of the lab: containers reach each other, a restart and a
// kill lose nothing, a peer that goes is removed.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import type { LabHost } from "../../lab/host.ts";
import { leaseEntryOf, subnetOfKey } from "../../lab/lease-view.ts";
import { ContinuousPing, ping, pingAll, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { wgDump, wireguardAgent } from "../../lab/wireguard-host.ts";

interface Example {
  readonly file: string;
  readonly hosts: number;
  /** The largest packet of containers, IP header included. */
  readonly mtuBytes: number;
  readonly ipv6?: true;
  /** What is on a host because of a peer with this subnet and public IP. */
  readonly traces: (host: LabHost, subnet: string, publicIp: string) => Promise<boolean>;
}

const hasRoute = async (host: LabHost, subnet: string) => (await host.namespace.ip("route", "show", subnet)) !== "";
const examples: readonly Example[] = [
  { file: "host-gw", hosts: 2, mtuBytes: 1500, traces: hasRoute },
  { file: "host-gw-dual-stack", hosts: 2, mtuBytes: 1500, ipv6: true, traces: hasRoute },
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

function launch(host: LabHost) {
  const { program, keyFile } = wireguardAgent(host);
  return { program, env: { WIREGUARD_KEY_FILE: keyFile } };
}

describe.each(examples)("the example $file", ({ file, hosts, mtuBytes, ipv6, traces }) => {
  it("connects containers, survives restarts without loss, and removes who goes", async () => {
    const config = JSON.parse(readFileSync(`examples/extension/${file}.json`, "utf8"));
    await using cluster = await Cluster.start({ hosts, config, launch, ...(ipv6 && { ipv6 }) });
    await untilAllPing(cluster.pods);
    expect(await pingAll(cluster.pods)).toHaveLength(hosts * (hosts - 1) * (ipv6 ? 2 : 1));
    const [from, to] = [cluster.pod(1), cluster.pod(2)];
    expect(await ping(from.namespace, to.ipv4 ?? "", { payloadBytes: mtuBytes - 28 })).toBeDefined();
    {
      await using traffic = await ContinuousPing.start(from.namespace, to.ipv4 ?? "");
      await cluster.agent(1).kill9();
      await cluster.startAgent(1).untilReady({ peers: hosts - 1 });
      await cluster.agent(2).term();
      await cluster.startAgent(2).untilReady({ peers: hosts - 1 });
      await traffic.more(10);
      expect((await traffic.stop()).lost).toEqual([]);
    }
    const { host } = cluster.agent(1);
    const publicIp = cluster.agent(2).host.ipv4 ?? "";
    const { key } = await leaseEntryOf(cluster.etcd, publicIp);
    const subnet = subnetOfKey(key);
    expect(await traces(host, subnet, publicIp)).toBe(true);
    await cluster.agent(2).term();
    await cluster.etcd.delete(key);
    await until(async () => !(await traces(host, subnet, publicIp)), { what: "the peer to be removed" });
  });
});
