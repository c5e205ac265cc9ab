// The wireguard backend on every family and in every mode, with wireguard-go: all containers reach each other with packets and
// TCP of full size, kernel and store have upstream's forms, and nothing is lost when an agent is killed and started again.
import { readFile } from "node:fs/promises";
import { afterEach, describe, expect, it } from "vitest";
import { Cluster } from "../../../lab/cluster.ts";
import type { LabHost } from "../../../lab/host.ts";
import { addresses, link, routes } from "../../../lab/kernel-view.ts";
import { type LeaseView, leaseEntryOf, leases } from "../../../lab/lease-view.ts";
import { ContinuousPing, ping, pingAll, untilAllPing } from "../../../lab/probe.ts";
import { wgDump, wireguardAgent } from "../../../lab/wireguard-host.ts";
import { transfersUnharmed } from "../../support/traffic.ts";

const ipv4Network = "10.5.0.0/16";
const ipv6Network = "fd00:5::/48";
const HOSTS = 3;

type Family = "IPv4" | "IPv6";

interface Device {
  readonly name: string;
  readonly carries: readonly Family[];
  /** Between the hosts. */
  readonly over: Family;
  readonly port: number;
  readonly mtuBytes: number;
}

interface Way {
  readonly name: string;
  readonly backend: Readonly<Record<string, unknown>>;
  readonly devices: readonly Device[];
}

const v4: Device = { name: "flannel-wg", carries: ["IPv4"], over: "IPv4", port: 51_820, mtuBytes: 1420 };
const v6: Device = { name: "flannel-wg-v6", carries: ["IPv6"], over: "IPv6", port: 51_821, mtuBytes: 1420 };
const both: Device = { ...v4, carries: ["IPv4", "IPv6"] };
const exact = { Overhead: "exact" };

const ways: readonly Way[] = [
  { name: "IPv4 alone, exact", backend: exact, devices: [{ ...v4, mtuBytes: 1440 }] },
  { name: "IPv6 alone", backend: {}, devices: [v6] },
  { name: "IPv6 alone, exact", backend: exact, devices: [v6] },
  { name: "IPv6 alone, auto", backend: { Mode: "auto" }, devices: [{ ...v6, name: "flannel-wg", port: 51_820 }] },
  { name: "dual stack, exact", backend: exact, devices: [{ ...v4, mtuBytes: 1440 }, v6] },
  // All addresses of the lab are private ones.
  { name: "dual stack, auto", backend: { Mode: "auto" }, devices: [both] },
  { name: "dual stack, ipv4, exact", backend: { Mode: "ipv4", ...exact }, devices: [{ ...both, mtuBytes: 1440 }] },
  { name: "dual stack, ipv6", backend: { Mode: "ipv6" }, devices: [{ ...both, over: "IPv6" }] },
];

let cluster: Cluster;
afterEach(() => cluster?.[Symbol.asyncDispose]());

const carries = ({ devices }: Way, family: Family) => devices.some((device) => device.carries.includes(family));

describe.each(ways)("$name", (way) => {
  it("connects all containers in upstream's forms, and loses nothing over a restart", async () => {
    const [isIpv4, isIpv6] = [carries(way, "IPv4"), carries(way, "IPv6")];
    const config = {
      ...(isIpv4 ? { Network: ipv4Network } : { EnableIPv4: false }),
      ...(isIpv6 ? { EnableIPv6: true, IPv6Network: ipv6Network } : {}),
      Backend: { Type: "wireguard", ...way.backend },
    };
    const launch = (host: LabHost) => {
      const { program, keyFile } = wireguardAgent(host);
      return { program, env: { WIREGUARD_KEY_FILE: keyFile } };
    };
    cluster = await Cluster.start({ hosts: HOSTS, ipv4: isIpv4, ipv6: isIpv6, config, launch });
    await untilAllPing(cluster.pods);
    expect(await pingAll(cluster.pods)).toHaveLength(HOSTS * (HOSTS - 1) * (isIpv4 && isIpv6 ? 2 : 1));
    const all = await leases(cluster.etcd);
    for (const agent of cluster.agents) {
      await expectForms(way, agent.host, all);
      const [first] = way.devices;
      expect(await readFile(agent.subnetFile, "utf8")).toContain(`FLANNEL_MTU=${first?.mtuBytes}\n`);
    }
    await expectFullSize(way);
    await expectNoLossOverRestart();
  });
});

/** As section 7.4 of upstream's behaviour has it: devices, addresses, routes, peers, lease. */
async function expectForms({ devices, backend }: Way, host: LabHost, all: readonly LeaseView[]): Promise<void> {
  const { namespace } = host;
  const isOwn = ({ publicIp, publicIpv6 }: LeaseView) =>
    publicIp === undefined ? publicIpv6 === host.ipv6 : publicIp === host.ipv4;
  const own = all.find(isOwn);
  const others = all.filter((lease) => lease !== own);
  expect(others).toHaveLength(HOSTS - 1);
  for (const name of ["flannel-wg", "flannel-wg-v6"]) {
    if (!devices.some((device) => device.name === name)) expect(await link(namespace, name)).toBeUndefined();
  }
  const keys: string[] = [];
  for (const { name, carries: families, over, port, mtuBytes } of devices) {
    const subnets = ({ subnet, ipv6Subnet }: LeaseView) =>
      families.map((family) => (family === "IPv4" ? subnet : ipv6Subnet) ?? "");
    expect(await link(namespace, name)).toMatchObject({ mtuBytes, isUp: true });
    const firsts = own === undefined ? [] : subnets(own).map((subnet) => subnet.replace(/\/\d+$/, ""));
    expect(await addresses(namespace, name)).toEqual(firsts.map((one) => `${one}/${one.includes(":") ? 128 : 32}`));
    const found = (await routes(namespace, "dev", name)).filter((line) => !line.includes("proto kernel"));
    const mtu = mtuBytes < (devices[0]?.mtuBytes ?? 0) ? ` mtu ${mtuBytes}` : "";
    expect(found).toEqual([
      ...(families.includes("IPv4") ? [`${ipv4Network} scope link`] : []),
      ...(families.includes("IPv6") ? [`${ipv6Network} metric 1024${mtu} pref medium`] : []),
    ]);
    const dump = await wgDump(host, name);
    keys.push(dump.publicKey);
    expect(dump.port).toBe(port);
    const endpoint = ({ publicIp, publicIpv6 }: LeaseView) =>
      over === "IPv4" ? `${publicIp}:${port}` : `[${publicIpv6}]:${port}`;
    expect(
      dump.peers
        .map((peer) => ({ endpoint: peer.endpoint, allowed: peer.allowedIps, psk: peer.presharedKey }))
        .sort(byEndpoint),
    ).toEqual(
      others.map((lease) => ({ endpoint: endpoint(lease), allowed: subnets(lease), psk: "(none)" })).sort(byEndpoint),
    );
  }
  expect(new Set(keys).size).toBe(1);
  const { value } = await leaseEntryOf(cluster.etcd, host.ipv4 ?? host.ipv6 ?? "");
  const data = (family: Family, portOfFamily: number) =>
    devices.some((device) => device.carries.includes(family))
      ? `,"Backend${family === "IPv4" ? "" : "V6"}Data":{"PublicKey":"${keys[0]}","Port":${portOfFamily}}`
      : "";
  const v6Port = "Mode" in backend ? 51_820 : 51_821;
  const publicIpv6 = host.ipv6 === undefined ? "null" : `"${host.ipv6}"`;
  expect(value).toBe(
    `{"PublicIP":"${host.ipv4 ?? "0.0.0.0"}","PublicIPv6":${publicIpv6},"BackendType":"wireguard"` +
      `${data("IPv4", 51_820)}${data("IPv6", v6Port)}}`,
  );
}

function byEndpoint(a: { readonly endpoint: string }, b: { readonly endpoint: string }): number {
  return a.endpoint < b.endpoint ? -1 : 1;
}

/** The largest packet passes and no larger one, and TCP at the containers' full MTU, in both directions. */
async function expectFullSize({ devices }: Way): Promise<void> {
  const [one, two] = [cluster.pod(1), cluster.pod(2)];
  for (const { carries: families, mtuBytes } of devices) {
    for (const family of families) {
      const [to = "", back = ""] = family === "IPv4" ? [two.ipv4, one.ipv4] : [two.ipv6, one.ipv6];
      const payloadBytes = mtuBytes - (family === "IPv4" ? 28 : 48);
      expect(await ping(one.namespace, to, { payloadBytes })).toBeDefined();
      expect(await ping(one.namespace, to, { payloadBytes: payloadBytes + 1, waitSeconds: 0.2 })).toBeUndefined();
      expect(await transfersUnharmed(one.namespace, two.namespace, to, 2_000_000)).toBe(true);
      expect(await transfersUnharmed(two.namespace, one.namespace, back, 2_000_000)).toBe(true);
    }
  }
}

async function expectNoLossOverRestart(): Promise<void> {
  const [one, two] = [cluster.pod(1), cluster.pod(2)];
  await using pings = new AsyncDisposableStack();
  const running: ContinuousPing[] = [];
  for (const address of [two.ipv4, two.ipv6].filter((each) => each !== undefined))
    running.push(pings.use(await ContinuousPing.start(one.namespace, address)));
  await cluster.agent(1).kill9();
  await cluster.startAgent(1).untilReady({ peers: HOSTS - 1 });
  await cluster.agent(2).term();
  await cluster.startAgent(2).untilReady({ peers: HOSTS - 1 });
  for (const traffic of running) {
    await traffic.more(20);
    expect((await traffic.stop()).lost).toEqual([]);
  }
}
