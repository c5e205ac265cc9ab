// What `flannelctl doctor` is told of the agent, its process and the leases.
import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { planSchema } from "../../../agent/control/control-protocol.ts";
import { readSubnetFile } from "../../../agent/state/subnet-file.ts";
import { backends } from "../../../backend/registry.ts";
import { announcedMac } from "../../../backend/vxlan/vtep-data.ts";
import type { AddressPool } from "../../../config/network-config.ts";
import type { AgentFacts, LeaseFact } from "../../../doctor/agent-facts.ts";
import { withNetlink } from "../../../doctor/gather/kernel.ts";
import { readNetworkManager, readProcess } from "../../../doctor/gather/process.ts";
import { hostDifference } from "../../../host/reconcile/host-difference.ts";
import { type Address, addressBits, addressToBigInt, familyOf, tryParseAddress } from "../../../ip/address.ts";
import { type Lease, prefixesOf } from "../../../lease/lease.ts";
import { rtn } from "../../../netlink/uapi.ts";
import { askAgent } from "../session/control-client.ts";
import type { GlobalOptions } from "../session/invocation.ts";
import type { KnownHost } from "./known-host.ts";

/** A difference that lasts no longer is a change under way. */
const SETTLES_MS = 1_000;
const PLAN_WITHIN_MS = 1_500;
const MAX_LINES = 100;

export async function gatherAgent(options: GlobalOptions, known: KnownHost, signal: AbortSignal): Promise<AgentFacts> {
  const { status, state, subnetFile } = known;
  const [network] = status?.networks ?? [];
  const process = status === undefined ? undefined : readProcess(status.agent.pid);
  const manager = readNetworkManager();
  const reasonOf = (name: string) => status?.reasons.find((reason) => reason.name === name)?.message;
  const [leaseProblem, leaseWriteProblem] = [reasonOf("lease-invalid"), reasonOf("lease-not-written")];
  const own = state === undefined ? undefined : leaseFact(state.own);
  const poolSize = options.kubernetes === undefined && state !== undefined ? poolSizeOf(state.configText) : undefined;
  const { interfaceAddresses, publicIps } = addressesOf(known);
  return {
    repairs: (network?.repairs.last ?? []).map(({ repairedAt, object }) => ({ object, atMs: Date.parse(repairedAt) })),
    refusals: (network?.failures ?? []).map(({ object, error }) => ({ object, error })),
    planDifference: await planDifference(options, known, signal),
    dataPlanePeers: (network?.dataPlane?.peers ?? []).map(({ key, sentBytes, receivedBytes, lastHandshakeAt }) => ({
      key,
      ...(sentBytes !== undefined && { sentBytes }),
      ...(receivedBytes !== undefined && { receivedBytes }),
      ...(lastHandshakeAt !== undefined && { lastHandshakeAt }),
    })),
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
    ...(mac !== undefined && { vtepMac: mac.toLowerCase() }),
    ...(macV6 !== undefined && { vtepMacV6: macV6.toLowerCase() }),
    ...(vni !== undefined && { vni }),
  };
}

function vniOf(data: unknown): number | undefined {
  if (typeof data !== "object" || data === null || !("VNI" in data)) return undefined;
  return typeof data.VNI === "number" ? data.VNI : undefined;
}

/** Of the family with less room. */
function poolSizeOf(configText: string): number | undefined {
  try {
    const { ipv4, ipv6 } = backends.parseConfig(configText).config;
    const sizes = [ipv4, ipv6].filter((pool) => pool !== undefined).map(subnetsIn);
    return sizes.length === 0 ? undefined : Math.min(...sizes);
  } catch {
    return undefined;
  }
}

function subnetsIn({ network, subnetLength, subnetMin, subnetMax }: AddressPool): number {
  const size = 1n << BigInt(addressBits(familyOf(network)) - subnetLength);
  return Number((addressToBigInt(subnetMax) - addressToBigInt(subnetMin)) / size + 1n);
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
async function planDifference(
  options: GlobalOptions,
  known: KnownHost,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const look = () => (known.status === undefined ? ownDifference(known) : agentsDifference(options, signal));
  const first = await look();
  if (first.length === 0) return [];
  await delay(SETTLES_MS, undefined, { signal });
  const second = new Set(await look());
  return first.filter((line) => second.has(line)).slice(0, MAX_LINES);
}

async function agentsDifference({ socketPaths }: GlobalOptions, signal: AbortSignal): Promise<readonly string[]> {
  const request = { method: "GET", path: controlPaths.plan, schema: planSchema, timeoutMs: PLAN_WITHIN_MS } as const;
  const { networks } = await askAgent(socketPaths, request, signal);
  return networks.flatMap(({ difference }) => difference);
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
