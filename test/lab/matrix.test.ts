// Every backend on every address family: containers reach each other, and kernel, etcd and subnet.env hold exactly what
// flannel's forms say.
import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { link } from "../../lab/kernel-view.ts";
import { type LeaseView, leaseEntryOf, leases } from "../../lab/lease-view.ts";
import { expectedOverlay, type OverlayForm, overlayLines } from "../../lab/overlay-view.ts";
import type { Pod } from "../../lab/pod.ts";
import { ping, pingAll, untilAllPing } from "../../lab/probe.ts";
import { until, untilLines } from "../../lab/wait.ts";

interface Stack {
  readonly name: string;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

interface Way {
  readonly name: string;
  readonly form: OverlayForm;
  readonly backend: Readonly<Record<string, unknown>>;
  readonly hosts: number;
  readonly routedHosts: number;
}

const stacks: readonly Stack[] = [
  { name: "IPv4", ipv4: true, ipv6: false },
  { name: "IPv6 only", ipv4: false, ipv6: true },
  { name: "dual stack", ipv4: true, ipv6: true },
];

const ways: readonly Way[] = [
  { name: "vxlan", form: { backend: "vxlan" }, backend: { Type: "vxlan" }, hosts: 3, routedHosts: 0 },
  {
    name: "vxlan with DirectRouting",
    form: { backend: "vxlan", directRouting: true },
    backend: { Type: "vxlan", DirectRouting: true },
    hosts: 2,
    routedHosts: 1,
  },
  { name: "host-gw", form: { backend: "host-gw" }, backend: { Type: "host-gw" }, hosts: 3, routedHosts: 0 },
];

const network = "10.5.0.0/16";
const ipv6Network = "fd00:5::/48";

function networkConfig(stack: Stack, backend: Way["backend"]): Readonly<Record<string, unknown>> {
  return {
    ...(stack.ipv4 ? { Network: network } : { EnableIPv4: false }),
    ...(stack.ipv6 ? { EnableIPv6: true, IPv6Network: ipv6Network } : {}),
    Backend: backend,
  };
}

/** MTU of containers: vxlan costs 50 bytes over IPv4, 70 over IPv6; in dual stack they have that of IPv4. */
function overlayMtu(stack: Stack, { form }: Way): number {
  if (form.backend !== "vxlan") return 1500;
  return stack.ipv4 ? 1450 : 1430;
}

function leaseKey({ subnet, ipv6Subnet }: LeaseView): string {
  const parts = [subnet ?? "0.0.0.0/0", ipv6Subnet].filter((part) => part !== undefined);
  return `/coreos.com/network/subnets/${parts.map((part) => part.replace("/", "-")).join("&")}`;
}

function subnetEnvLines(lease: LeaseView, mtuBytes: number): readonly string[] {
  const gateway = (subnet: string, first: string) => subnet.replace(/(0|::)\/(\d+)$/, `${first}/$2`);
  return [
    ...(lease.subnet === undefined
      ? []
      : [`FLANNEL_NETWORK=${network}`, `FLANNEL_SUBNET=${gateway(lease.subnet, "1")}`]),
    ...(lease.ipv6Subnet === undefined
      ? []
      : [`FLANNEL_IPV6_NETWORK=${ipv6Network}`, `FLANNEL_IPV6_SUBNET=${gateway(lease.ipv6Subnet, "::1")}`]),
    `FLANNEL_MTU=${mtuBytes}`,
    "FLANNEL_IPMASQ=false",
    "",
  ];
}

/** On the tunnel IPv6 has less room, which the host itself tells; between hosts of one link there may be no tunnel. */
async function expectLargestPacket(pods: readonly Pod[], containerMtuBytes: number, { form }: Way): Promise<void> {
  const [from, to] = pods as [Pod, Pod, ...Pod[]];
  for (const [address, headerBytes] of [
    [to.ipv4, 28],
    [to.ipv6, 48],
  ] as const) {
    if (address === undefined) continue;
    const isTunnel = form.backend === "vxlan" && form.directRouting !== true;
    const mtuBytes = isTunnel && headerBytes === 48 ? 1430 : containerMtuBytes;
    expect(await ping(from.namespace, address, { payloadBytes: mtuBytes - headerBytes })).toBeDefined();
    expect(
      await ping(from.namespace, address, { payloadBytes: mtuBytes - headerBytes + 1, waitSeconds: 0.2 }),
    ).toBeUndefined();
  }
}

/** Each host has a bridge with a container, so that somebody answers with every backend. */
async function expectProbesAnswered({ hosts, routedHosts }: Way): Promise<void> {
  for (const agent of cluster.agents) {
    const answered = async () => {
      const { probes } = await agent.status();
      if (probes?.states.up === hosts + routedHosts - 1) return true;
      throw new Error(`probes found ${JSON.stringify(probes)}`);
    };
    await until(answered, { what: `every peer of ${agent.host.name} to answer probes` });
  }
}

let cluster: Cluster;
afterEach(() => cluster[Symbol.asyncDispose]());

for (const way of ways) {
  describe.each(stacks)(`${way.name}, $name`, (stack) => {
    beforeEach(async () => {
      const { hosts, routedHosts } = way;
      const { ipv4, ipv6 } = stack;
      cluster = await Cluster.start({ hosts, routedHosts, ipv4, ipv6, config: networkConfig(stack, way.backend) });
    });

    it("connects all containers; kernel, etcd and subnet.env hold flannel's forms", async () => {
      const mtuBytes = overlayMtu(stack, way);
      await untilAllPing(cluster.pods);
      expect(await pingAll(cluster.pods)).toHaveLength(3 * 2 * (stack.ipv4 && stack.ipv6 ? 2 : 1));
      await expectLargestPacket(cluster.pods, mtuBytes, way);
      await expectProbesAnswered(way);
      const all = await leases(cluster.etcd);
      expect(all).toHaveLength(3);
      for (const agent of cluster.agents) {
        const { host } = agent;
        await untilLines(() => overlayLines(host.namespace), expectedOverlay(host, all, way.form), {
          what: `the kernel state of ${host.name}`,
        });
        const lease = await expectLease(host.ipv4, host.ipv6);
        expect((await readFile(agent.subnetFile, "utf8")).split("\n")).toEqual(subnetEnvLines(lease, mtuBytes));
        expect((await agent.status()).mtuBytes).toBe(mtuBytes);
      }
    });

    async function expectLease(ipv4: string | undefined, ipv6: string | undefined): Promise<LeaseView> {
      const address = ipv4 ?? ipv6 ?? "";
      const entry = await leaseEntryOf(cluster.etcd, address);
      const host = cluster.lan.hosts.find((candidate) => (candidate.ipv4 ?? candidate.ipv6) === address);
      if (host === undefined) throw new Error(`no host ${address}`);
      const data = async (device: string) => {
        const mac = (await link(host.namespace, device))?.mac;
        return mac === undefined ? "" : `{"VNI":1,"VtepMAC":"${mac}"}`;
      };
      const [dataV4, dataV6] = [await data("flannel.1"), await data("flannel-v6.1")];
      const value =
        `{"PublicIP":"${ipv4 ?? "0.0.0.0"}","PublicIPv6":${ipv6 === undefined ? "null" : `"${ipv6}"`}` +
        `,"BackendType":"${way.form.backend}"${dataV4 === "" ? "" : `,"BackendData":${dataV4}`}` +
        `${dataV6 === "" ? "" : `,"BackendV6Data":${dataV6}`}}`;
      expect(entry.value).toBe(value);
      const all = await leases(cluster.etcd);
      const lease = all.find((found) => (ipv4 === undefined ? found.publicIpv6 === ipv6 : found.publicIp === ipv4));
      if (lease === undefined) throw new Error(`no lease of ${address}`);
      expect(lease.subnet ?? "").toMatch(stack.ipv4 ? /^10\.5\.\d+\.0\/24$/ : /^$/);
      expect(lease.ipv6Subnet ?? "").toMatch(stack.ipv6 ? /^fd00:5:0:[\da-f]+::\/64$/ : /^$/);
      expect(entry.key).toBe(leaseKey(lease));
      expect(entry.leaseId).not.toBe(0n);
      return lease;
    }
  });
}

describe("alloc", () => {
  it("leases a subnet and touches nothing", async () => {
    cluster = await Cluster.start({ hosts: 2, config: { Network: network, Backend: { Type: "alloc" } } });
    const all = await leases(cluster.etcd);
    expect(all).toHaveLength(2);
    for (const { host, subnetFile } of cluster.agents) {
      const entry = await leaseEntryOf(cluster.etcd, host.ipv4 ?? "");
      expect(entry.value).toBe(`{"PublicIP":"${host.ipv4}","PublicIPv6":null}`);
      const lease = all.find(({ publicIp }) => publicIp === host.ipv4) as LeaseView;
      expect((await readFile(subnetFile, "utf8")).split("\n")).toEqual(subnetEnvLines(lease, 1500));
      expect(await overlayLines(host.namespace)).toEqual([]);
    }
  });
});
