// What `flannelctl doctor` gets to know of the agent, its process and the leases.
import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { NetworkStatus } from "../../../agent/control/control-protocol.ts";
import { readSubnetFile } from "../../../agent/state/subnet-file.ts";
import { announcedMac } from "../../../backend/vxlan/vtep-data.ts";
import type { AgentFacts, LeaseFact, ProbeFact } from "../../../doctor/agent-facts.ts";
import { withNetlink } from "../../../doctor/gather/kernel.ts";
import { readProcess } from "../../../doctor/gather/process.ts";
import { hostDifference } from "../../../host/reconcile/host-difference.ts";
import { type Address, tryParseAddress, tryParsePrefix } from "../../../ip/address.ts";
import { type Lease, prefixesOf } from "../../../lease/lease.ts";
import { rtn } from "../../../netlink/uapi.ts";
import { type HostWide, SETTLES_MS } from "./host-wide.ts";
import type { KnownHost } from "./known-host.ts";
import { poolSizeOf } from "./pool-size.ts";

const MAX_LINES = 100;

function networkFacts(
  network: NetworkStatus | undefined,
): Pick<AgentFacts, "repairs" | "refusals" | "dataPlanePeers" | "probes"> {
  if (network === undefined) return { repairs: [], refusals: [], dataPlanePeers: [], probes: probesOf([]) };
  return {
    repairs: network.repairs.last.map(({ repairedAt, object }) => ({ object, atMs: Date.parse(repairedAt) })),
    refusals: network.failures.map(({ object, error }) => ({ object, error })),
    dataPlanePeers: (network.dataPlane?.peers ?? []).map(({ key, sentBytes, receivedBytes, lastHandshakeAt }) => ({
      key,
      ...(sentBytes !== undefined && { sentBytes }),
      ...(receivedBytes !== undefined && { receivedBytes }),
      ...(lastHandshakeAt !== undefined && { lastHandshakeAt }),
    })),
    probes: probesOf(network.probes?.paths ?? []),
  };
}

export async function gatherAgent(known: KnownHost, host: HostWide): Promise<AgentFacts> {
  const { status, state, subnetFile, options } = known;
  const process = status === undefined ? undefined : readProcess(status.agent.pid);
  const manager = await host.networkManager();
  const reasonOf = (name: string) => status?.reasons.find((reason) => reason.name === name)?.message;
  const [leaseProblem, leaseWriteProblem] = [reasonOf("lease-invalid"), reasonOf("lease-not-written")];
  const own = state === undefined ? undefined : leaseFact(state.own);
  const { interfaceAddresses, publicIps } = addressesOf(known);
  const poolSize = options.kubernetes === undefined && state !== undefined ? poolSizeOf(state.configText) : undefined;
  return {
    ...networkFacts(status?.networks[0]),
    leases: [...(own === undefined ? [] : [own]), ...known.peers.map(leaseFact)],
    subnetFile: {
      path: subnetFile,
      isThere: existsSync(subnetFile),
      subnets: prefixesOf(readSubnetFile(subnetFile, () => undefined)),
    },
    interfaceAddresses,
    publicIps,
    ...(process !== undefined && { process }),
    ...(manager !== undefined && { networkManager: manager }),
    ...(leaseProblem !== undefined && { leaseProblem }),
    ...(leaseWriteProblem !== undefined && { leaseWriteProblem }),
    ...(own !== undefined && { own }),
    ...(poolSize !== undefined && { poolSize }),
  };
}

function leaseFact({ key, subnet, ipv6Subnet, attributes, isReservation }: Lease): LeaseFact {
  const { publicIp, publicIpv6, backendType, backendData, backendV6Data } = attributes;
  const [mac, macV6] = [announcedMac(backendData), announcedMac(backendV6Data)];
  const vni = vniOf(backendData) ?? vniOf(backendV6Data);
  return {
    ...{ key, isReservation },
    ...(subnet !== undefined && { subnet }),
    ...(ipv6Subnet !== undefined && { ipv6Subnet }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
    ...(backendType !== undefined && { backendType: backendType.toLowerCase() }),
    ...(mac !== undefined && { announcedMac: mac.toLowerCase() }),
    ...(macV6 !== undefined && { announcedMacV6: macV6.toLowerCase() }),
    ...(vni !== undefined && { vni }),
  };
}

function probesOf(paths: NonNullable<NetworkStatus["probes"]>["paths"]): ProbeFact[] {
  return paths.flatMap((path) => {
    const { peer, subnet: text, publicIp, state, direction, signature, since, mtu, routeMtuBytes } = path;
    const subnet = tryParsePrefix(text);
    // No larger packet leaves where the agent gave the route what the path carries.
    const isWhole = mtu === undefined || mtu.wholeBytes >= (routeMtuBytes ?? mtu.overlayBytes);
    const isInOrder = state === "up" && isWhole;
    if (subnet === undefined || isInOrder) return [];
    return [
      {
        ...{ peer, subnet, state, signature, since },
        ...(publicIp !== undefined && { publicIp }),
        ...(direction !== undefined && { direction }),
        ...(mtu !== undefined && { overlayBytes: mtu.overlayBytes, wholeBytes: mtu.wholeBytes }),
      },
    ];
  });
}

function vniOf(data: unknown): number | undefined {
  if (typeof data !== "object" || data === null || !("VNI" in data)) return undefined;
  return typeof data.VNI === "number" ? data.VNI : undefined;
}

function addressesOf({ status, state }: KnownHost): {
  interfaceAddresses: readonly Address[];
  publicIps: readonly Address[];
} {
  const told = status?.networks[0]?.externalInterface;
  const parse = (texts: readonly (string | undefined)[]) =>
    texts.flatMap((text) => (text === undefined ? [] : (tryParseAddress(text) ?? [])));
  return {
    interfaceAddresses: told === undefined ? (state?.chosen?.addresses ?? []) : parse([told.address, told.ipv6Address]),
    publicIps:
      told === undefined ? parse([state?.publicIp, state?.publicIpv6]) : parse([told.publicIp, told.publicIpv6]),
  };
}

/** As of two looks: what both of them find. */
export async function planDifference(
  known: KnownHost,
  host: HostWide,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { status } = known;
  if (status !== undefined) {
    const differences = await host.planDifferences();
    return status.networks.flatMap(({ name }) => differences.get(name) ?? []).slice(0, MAX_LINES);
  }
  const first = await ownDifference(known);
  if (first.length === 0) return [];
  await delay(SETTLES_MS, undefined, { signal });
  const second = new Set(await ownDifference(known));
  return first.filter((line) => second.has(line)).slice(0, MAX_LINES);
}

/** Without an agent: what it would add or correct. What it would remove depends on leases that nobody here follows. */
async function ownDifference({ state, backend, facts, context, peers }: KnownHost): Promise<readonly string[]> {
  if (state === undefined || backend === undefined || facts === undefined || context === undefined) return [];
  return await withNetlink(async (netlink) => {
    const asked = peers
      .filter((lease) => backend.needsLookUp(lease))
      .flatMap(({ attributes: { publicIp, publicIpv6 } }) => [publicIp, publicIpv6]);
    const addresses = asked.filter((address) => address !== undefined);
    const answers = await netlink.routeLookups(addresses.map((address) => ({ destination: address })));
    const direct = addresses.filter((_, at) => {
      const route = answers[at]?.route;
      return route !== undefined && route.type === rtn.unicast && route.gateway === undefined;
    });
    const plan = backend.plan(state.own, peers, { ...facts, directPeers: new Set(direct) });
    const ownership = { ownDevices: new Set(context.devices), ownedNetworks: context.networks };
    return await hostDifference(netlink, ownership, plan.state, { prune: false });
  });
}
