// Which echoes `flannelctl doctor` follows through this host: from this host and its containers to peers, and to its containers.
import type { Backend } from "../../../backend/backend.ts";
import type { CheckContext } from "../../../doctor/check.ts";
import type { FollowedEcho } from "../../../doctor/followed-echo.ts";
import type { EchoTarget } from "../../../doctor/gather/echoes.ts";
import type { ScanContext, SinglePacket } from "../../../firewall/hook-packets.ts";
import type { HookScanner } from "../../../firewall/hook-scanner.ts";
import { type Address, familyOf, prefixAddress } from "../../../ip/address.ts";
import { addToAddress, containsAddress, networkAddress } from "../../../ip/prefix.ts";
import { readPolicies } from "../../../netlink/xfrm/xfrm-control.ts";
import type { XfrmPolicy, XfrmSelector } from "../../../netlink/xfrm/xfrm-policy.ts";
import { type ContainerPort, containerPorts } from "./container-ports.ts";
import { type FollowPlan, followEchoes } from "./follow-echoes.ts";
import type { HostWide } from "./host-wide.ts";
import type { KnownHost } from "./known-host.ts";

export interface FollowSources {
  readonly known: KnownHost;
  readonly host: HostWide;
  readonly context: CheckContext;
  /** Those in doubt first. */
  readonly targets: readonly EchoTarget[];
  readonly scanner: HookScanner;
  readonly scan: ScanContext;
  readonly limitMs: number;
}

export async function gatherFollowed(sources: FollowSources): Promise<readonly FollowedEcho[]> {
  const { known, host, context, targets, limitMs } = sources;
  const [links, namespaces] = await Promise.all([host.links(), host.namespaces().catch(() => [])]);
  const ports = containerPorts(context, { namespaces }, links);
  const { address, ipv6Address } = context.externalInterface;
  const ends = [address, ipv6Address].filter((each) => each !== undefined);
  const encrypting = (await readPolicies()).filter(encrypts);
  const plans = planFollowing({ ports, targets: targets.map((target) => carried(target, known)), ends, encrypting });
  const asked: FollowPlan[] = [];
  for (const plan of plans) if (await surelyPasses(plan, sources)) asked.push(plan);
  return await followEchoes(asked, new Map(links.map(({ index, name }) => [index, name])), limitMs);
}

type Carried = EchoTarget & { readonly device?: string; readonly carriedBy?: string };

function carried(target: EchoTarget, { plan, backend }: KnownHost): Carried {
  const device = plan?.state.route?.find(({ destination }) => destination === target.subnet)?.device;
  const carriedBy = device === undefined || target.isDirect ? undefined : carrierOf(plan, backend, device);
  return { ...target, ...(device !== undefined && { device }), ...(carriedBy !== undefined && { carriedBy }) };
}

function carrierOf(plan: KnownHost["plan"], backend: Backend | undefined, device: string): string | undefined {
  const kind = plan?.state.link?.find(({ name }) => name === device)?.kind;
  if (kind === "tun") return "udp";
  return kind === "vxlan" || kind === "ipip" || kind === "wireguard"
    ? kind
    : backend?.type === "udp"
      ? "udp"
      : undefined;
}

/**
 * Other checks report what rules drop, where it is trouble: policies for containers, and rules for echoes alone, are none. Some of
 * these (ipset, marks, programs that decide) nobody can judge.
 */
async function surelyPasses(plan: FollowPlan, { scanner, scan, known }: FollowSources): Promise<boolean> {
  const packet = firstPacket(plan, scan, known.addresses);
  return packet === undefined || (await scanner.surelyPasses(packet));
}

/** `addresses`: of this host. Undefined: no rule of IP is between two stations of its way, or its source is not known. */
export function firstPacket(
  { sender, port, target, stations }: FollowPlan,
  scan: ScanContext,
  addresses: KnownHost["addresses"],
): SinglePacket | undefined {
  const outgoing = stations.find(({ place }) => place === "tunnel")?.device ?? scan.tunnel[familyOf(target)];
  const ends = { destination: target, outgoing, protocol: "icmp" } as const;
  if (sender === "container" && port !== undefined) {
    return { ...ends, source: port.address, incoming: port.bridge ?? port.device, way: "forwarded" };
  }
  // On the way into a container rules come before the first station.
  if (port !== undefined) return undefined;
  const source = addresses
    .filter(({ device }) => device === outgoing)
    .map(({ address }) => prefixAddress(address))
    .filter((address) => familyOf(address) === familyOf(target))
    .find((address) => scan.ownSubnets.some((subnet) => containsAddress(subnet, address)));
  return source === undefined ? undefined : { ...ends, source, incoming: "", way: "sent" };
}

interface FollowOptions {
  readonly ports: readonly ContainerPort[];
  /** Those in doubt first. */
  readonly targets: readonly Carried[];
  /** Of this host, from which the tunnel's packets go. */
  readonly ends: readonly Address[];
  /** What leaves this host encrypted. */
  readonly encrypting: readonly XfrmSelector[];
}

/** A policy that blocks is a loss like any other. */
function encrypts({ direction, action, templates }: XfrmPolicy): boolean {
  return direction === "out" && action === "allow" && templates.length > 0;
}

function isEncrypted({ encrypting }: FollowOptions, sources: readonly Address[], destination: Address): boolean {
  return encrypting.some(
    (policy) =>
      containsAddress(policy.destination, destination) &&
      sources.some((source) => containsAddress(policy.source, source)),
  );
}

const MAX_CONTAINERS = 2;

/** Which echoes are worth it: each of a few containers, with the peer that is most in doubt and the one that is least. Pure. */
export function planFollowing(options: FollowOptions): FollowPlan[] {
  const { ports, targets } = options;
  const asked = ports.slice(0, MAX_CONTAINERS);
  const [first, last] = [targets[0], targets.at(-1)];
  const host = first === undefined || first.isDirect ? [] : [toPeer(first, options)];
  const out = asked.flatMap((port, at) =>
    [first, at === 0 && last !== first ? last : undefined].flatMap((target) =>
      target === undefined || familyOf(target.subnet) !== familyOf(port.address) ? [] : [toPeer(target, options, port)],
    ),
  );
  return [...host, ...out, ...asked.map(intoContainer)];
}

type Station = FollowPlan["stations"][number];

function insideStations({ device, bridge }: ContainerPort): Pick<Station, "place" | "device">[] {
  const port = { place: "port", device } as const;
  return bridge === undefined ? [port] : [port, { place: "bridge", device: bridge }];
}

function toPeer(peer: Carried, options: FollowOptions, port?: ContainerPort): FollowPlan {
  const { subnet, address, isDirect, device, carriedBy } = peer;
  const target = isDirect ? addToAddress(networkAddress(subnet), 1n) : networkAddress(subnet);
  const isHidden =
    carriedBy === undefined
      ? isEncrypted(options, port === undefined ? options.ends : [port.address], target)
      : isEncrypted(options, options.ends, address);
  const inside = port === undefined ? [] : insideStations(port);
  const tunnel: Pick<Station, "place" | "device">[] =
    carriedBy === undefined || device === undefined ? [] : [{ place: "tunnel", device }];
  // What IPsec of the host has encrypted is not recognised there.
  const outside: Pick<Station, "place" | "device">[] =
    (isDirect || carriedBy !== undefined) && !isHidden ? [{ place: "outside" }] : [];
  const way = [...inside, ...tunnel, ...outside];
  const isIn = ({ place }: Pick<Station, "place">) => place === "port" || place === "bridge";
  return {
    sender: port === undefined ? "host" : "container",
    ...(port !== undefined && { port }),
    target,
    stations: [
      ...way.map((at) => ({ ...at, packet: "request", direction: isIn(at) ? "in" : "out" }) as const),
      ...way.toReversed().map((at) => ({ ...at, packet: "reply", direction: isIn(at) ? "out" : "in" }) as const),
    ],
    ...(!isDirect && carriedBy !== undefined && { carriedBy }),
    outside: address,
  };
}

function intoContainer(port: ContainerPort): FollowPlan {
  const inside = insideStations(port);
  return {
    ...{ sender: "host", port, target: port.address },
    stations: [
      ...inside.toReversed().map((at) => ({ ...at, packet: "request", direction: "out" }) as const),
      ...inside.map((at) => ({ ...at, packet: "reply", direction: "in" }) as const),
    ],
  };
}
