// The backend of a living network is changed between vxlan, host-gw and wireguard, with wireguard-go. Hosts that have changed
// and hosts that have not do not reach each other meanwhile; that ends by itself soon, and nothing of the backend before is left.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "../../../lab/cluster.ts";
import type { LabHost } from "../../../lab/host.ts";
import { ContinuousPing, untilAllPing } from "../../../lab/probe.ts";
import { until } from "../../../lab/wait.ts";
import { wireguardAgent } from "../../../lab/wireguard-host.ts";

const network = { Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fd00:5::/48" };
const hosts = [1, 2, 3];
/** Some ten times what was measured. */
const CUT_OFF_AT_MOST_MS = { "host by host": 80_000, "all hosts at once": 30_000 };

const devicesOf: Readonly<Record<string, readonly string[]>> = {
  vxlan: ["flannel-v6.1", "flannel.1"],
  wireguard: ["flannel-wg", "flannel-wg-v6"],
  "host-gw": [],
};

/** `vxlan` and back on every way that leads to wireguard and from it. */
const changes = ["wireguard", "host-gw", "wireguard", "vxlan"];

async function flannelDevices({ namespace }: LabHost): Promise<readonly string[]> {
  const links = await namespace.ipJson("link", "show");
  const names = links.map((link) => String(link["ifname"])).filter((name) => name.startsWith("flannel"));
  return names.sort();
}

describe.each(["host by host", "all hosts at once"] as const)("%s", (order) => {
  let cluster: Cluster;

  beforeAll(async () => {
    const launch = (host: LabHost) => {
      const { program, keyFile } = wireguardAgent(host);
      return { program, env: { WIREGUARD_KEY_FILE: keyFile } };
    };
    const config = { ...network, Backend: { Type: "vxlan" } };
    cluster = await Cluster.start({ hosts: hosts.length, ipv6: true, config, launch });
    await untilAllPing(cluster.pods);
  });

  afterAll(() => cluster?.[Symbol.asyncDispose]());

  async function restart(number: number): Promise<void> {
    await cluster.agent(number).term();
    await cluster.startAgent(number).untilReady();
  }

  it.each(changes.map((to, at) => [changes[at - 1] ?? "vxlan", to] as const))("from %s to %s", async (_, to) => {
    await using pings = new AsyncDisposableStack();
    const running: ContinuousPing[] = [];
    for (const number of hosts) {
      const other = cluster.pod((number % hosts.length) + 1);
      for (const address of [other.ipv4, other.ipv6]) {
        running.push(pings.use(await ContinuousPing.start(cluster.pod(number).namespace, address ?? "")));
      }
    }
    await cluster.etcd.put("/coreos.com/network/config", JSON.stringify({ ...network, Backend: { Type: to } }));
    if (order === "all hosts at once") await Promise.all(hosts.map(restart));
    else for (const number of hosts) await restart(number);
    await cluster.untilReady();
    await untilAllPing(cluster.pods);
    for (const traffic of running) await traffic.more(20);
    const reports = await Promise.all(running.map((traffic) => traffic.stop()));
    const longestMs = Math.max(...reports.map(({ longestSilenceMs }) => longestSilenceMs));
    expect(longestMs).toBeLessThan(CUT_OFF_AT_MOST_MS[order]);
    for (const number of hosts) {
      const { host } = cluster.agent(number);
      const isClean = async () => (await flannelDevices(host)).join() === devicesOf[to]?.join();
      await until(isClean, { what: `${host.name} to have the devices of ${to} alone` });
      expect((await cluster.agent(number).status()).peers.skipped).toEqual([]);
    }
  });
});
