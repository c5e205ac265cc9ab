// The ways of packets between containers of this host and a peer, as the kernel would take them now: what to ask it
// (RTM_GETROUTE, also as if the packet came in by a device), and what of its answers keeps packets from flowing. Pure.
import { type Address, type Family, familyOf, type Prefix } from "../ip/address.ts";
import { addToAddress, containsAddress, networkAddress, prefixSize } from "../ip/prefix.ts";
import type { RouteQuery } from "../netlink/rtnetlink/route.ts";
import type { RouteAnswer } from "../netlink/rtnetlink/rtnetlink.ts";
import { routeTable, rtn } from "../netlink/uapi.ts";
import type { FindingName } from "./finding.ts";
import { type FixStep, runIp, setSysctl } from "./fix-step.ts";

/** How a peer's subnet is to be reached. */
export interface PlannedWay {
  /** Key of the lease. */
  readonly peer: string;
  readonly subnet: Prefix;
  /** Packets leave through it, and those of the peer arrive by it. */
  readonly device: string;
  /** The peer's host, where it is the next hop itself; missing: packets go through a tunnel. */
  readonly gateway?: Address;
  /** Where the tunnel ends; missing when nobody announced it. */
  readonly publicIp?: Address;
  /** As its lease announces it; some announce none. */
  readonly backendType?: string;
  /** False when the route could not be programmed: then only the way to the peer's host is asked for. */
  readonly isInPlace: boolean;
}

export interface WayDevice {
  readonly index: number;
  readonly name: string;
}

export interface InsideDevice {
  readonly device: WayDevice;
  /** One that the device holds; absent where it holds none, as with a plugin without a bridge. */
  readonly address?: Address;
  readonly container: Address;
}

/** What asking and judging need to know of this host. */
export interface WayContext {
  readonly network: Readonly<Partial<Record<Family, Prefix>>>;
  /** Where containers are, by family: a device that holds an address of our subnet, and the address of a container. */
  readonly inside: Readonly<Partial<Record<Family, InsideDevice>>>;
  readonly ownDevices: ReadonlySet<string>;
  /** Another program added a policy rule. */
  readonly hasPolicyRules: boolean;
  /** UDP port to which packets of the tunnel go; missing: they are no UDP. */
  readonly tunnelPort?: number;
  /** Whether IPv4 packets that arrive on the device must come in as they would go out. */
  isStrict(device: string): boolean;
  device(name: string): WayDevice | undefined;
  name(index: number | undefined): string;
}

/** `tunnel`: the packets around, by their port. */
type WayStep = "out" | "forward" | "in" | "underlay" | "tunnel";

export interface WayQuestion {
  readonly step: WayStep;
  /** Of a container of the peer, or of the peer's host. */
  readonly address: Address;
  readonly query: RouteQuery;
}

/** `evidence(whom)` is a clause; two faults of one `cause` differ in whom they concern alone. */
export interface WayFault {
  readonly name: FindingName;
  readonly step: WayStep;
  readonly address: Address;
  /** The kernel only refused: it did not say by which table. */
  readonly isRefusal?: true;
  readonly cause: string;
  evidence(whom: string): string;
  readonly remedy: string;
  readonly fix?: readonly FixStep[];
}

/** The questions about `addresses` of the peer's subnet, and the one about its host. */
export function wayQuestions(way: PlannedWay, addresses: readonly Address[], context: WayContext): WayQuestion[] {
  const family = familyOf(way.subnet);
  const inside = context.inside[family];
  const incoming = context.device(way.device);
  const questions: WayQuestion[] = [];
  for (const address of way.isInPlace ? addresses : []) {
    questions.push({ step: "out", address, query: { destination: address } });
    if (inside === undefined || incoming === undefined) continue;
    const { device, container } = inside;
    questions.push(
      { step: "forward", address, query: { destination: address, source: container, incomingIndex: device.index } },
      { step: "in", address, query: { destination: container, source: address, incomingIndex: incoming.index } },
    );
  }
  const host = way.gateway ?? way.publicIp;
  if (host !== undefined) {
    questions.push({ step: "underlay", address: host, query: { destination: host } });
    // A rule may take the tunnel's packets alone.
    if (way.gateway === undefined && context.tunnelPort !== undefined && context.hasPolicyRules) {
      questions.push({ step: "tunnel", address: host, query: { destination: host, udpPort: context.tunnelPort } });
    }
  }
  return questions;
}

/** It is the way to the peer's host that is broken. */
export function isOutside({ step }: WayFault): boolean {
  return step === "underlay" || step === "tunnel";
}

/** Undefined when packets would go as planned, and when nothing can be said. */
export function wayFault(
  { step, address }: WayQuestion,
  answer: RouteAnswer,
  way: PlannedWay,
  context: WayContext,
): WayFault | undefined {
  const incoming = step === "forward" ? context.inside[familyOf(way.subnet)]?.device.name : way.device;
  const fault = { step, address, way, context, incoming: incoming ?? way.device };
  // A device that is gone since the question was made says nothing.
  if (answer.errno !== undefined) return answer.errno === "ENODEV" ? undefined : refusal(fault, answer.errno);
  const { outIndex, gateway, table, nextHops = [] } = answer.route;
  const found: FoundWay = {
    type: answer.route.type,
    device: context.name(outIndex ?? nextHops[0]?.outIndex),
    gateway: gateway ?? nextHops[0]?.gateway,
    table,
  };
  if (found.type !== rtn.unicast && found.type !== rtn.local) return refusal(fault, typeErrnos.get(found.type) ?? "");
  if (step === "tunnel" && !context.ownDevices.has(found.device)) return undefined;
  return step === "underlay" || step === "tunnel" ? underlayFault(fault, found) : detour(fault, found);
}

interface FaultContext {
  readonly step: WayStep;
  readonly address: Address;
  readonly way: PlannedWay;
  readonly context: WayContext;
  /** By which the packet comes in, where it does. */
  readonly incoming: string;
}

interface FoundWay {
  readonly type: number;
  readonly device: string;
  readonly gateway: Address | undefined;
  readonly table: number;
}

/** IPv6 answers with a route of such a type where IPv4 answers with an error. */
const typeErrnos: ReadonlyMap<number, string> = new Map([
  [rtn.blackhole, "EINVAL"],
  [rtn.unreachable, "EHOSTUNREACH"],
  [rtn.prohibit, "EACCES"],
  [rtn.throw, "ENETUNREACH"],
]);

const errnoWords: ReadonlyMap<string, string> = new Map([
  ["ENETUNREACH", "there is no route"],
  ["EHOSTUNREACH", "an unreachable route or rule matches"],
  ["EACCES", "a prohibit route or rule matches"],
  ["EINVAL", "a blackhole route or rule matches"],
]);

function refusal({ step, address, way, context, incoming }: FaultContext, errno: string): WayFault {
  const words = errnoWords.get(errno) ?? errno;
  const family = familyOf(way.subnet);
  const showRoutes = `ip ${family === 6 ? "-6 " : ""}route get ${address} # and delete the route or rule in the program that added it`;
  if (step === "tunnel") {
    return {
      ...{
        name: "policy-rule",
        step,
        address,
        cause: `tunnel's packets: ${errno}`,
        remedy: showRules(address, context.tunnelPort),
      },
      evidence: (whom) => `the kernel has no way for the tunnel's packets to ${address}, the host of ${whom}: ${words}`,
    };
  }
  if (step === "underlay") {
    const cause = `no way to the host: ${errno}`;
    return {
      name: "underlay-no-route",
      step,
      address,
      cause,
      evidence: (whom) => `the kernel has no way to ${address}, the host of ${whom}: ${words}`,
      remedy: showRoutes,
    };
  }
  if (step === "out") {
    const cause = `dropped on the way out: ${errno}`;
    return {
      name: wayTaker(context),
      isRefusal: true,
      step,
      address,
      cause,
      evidence: (whom) => `the kernel drops packets for ${whom}: ${words}`,
      remedy: showRoutes,
    };
  }
  const direction = step === "forward" ? "for" : "from";
  const { why, ...cause } = incomingRefusal(family, incoming, context, errno);
  const evidence = (whom: string) => `the kernel drops packets ${direction} ${whom} that arrive on ${incoming}: ${why}`;
  return { step, address, isRefusal: true, cause: `${step} ${incoming}: ${errno}`, evidence, ...cause };
}

/** Of packets that arrive on a device. The way out was found without that device: so it is the reason. */
function incomingRefusal(
  family: Family,
  incoming: string,
  context: WayContext,
  errno: string,
): Pick<WayFault, "name" | "remedy" | "fix"> & { readonly why: string } {
  if (errno === "EHOSTUNREACH") {
    const sysctl = dotted(family, incoming, "forwarding");
    return {
      name: "device-sysctl-off",
      why: `forwarding is off on ${incoming}`,
      remedy: `sysctl -w ${sysctl}=1`,
      fix: [setSysctl(sysctl, "1")],
    };
  }
  const other = { name: wayTaker(context), remedy: showAllRoutes(family) };
  if (errno !== "EINVAL" && errno !== "EXDEV") return { ...other, why: errnoWords.get(errno) ?? errno };
  if (!context.isStrict(incoming)) {
    const why =
      "a blackhole route or rule matches, no route leads back to their source, or it is an address of this host";
    return { ...other, why };
  }
  return {
    name: "rp-filter-strict",
    why: "reverse path filtering, or no route back to their source",
    remedy: "sysctl -w net.ipv4.conf.all.rp_filter=2",
    fix: [setSysctl("net/ipv4/conf/all/rp_filter", "2")],
  };
}

/** The way out alone would not show it. */
function showAllRoutes(family: Family): string {
  const flag = family === 6 ? "-6 " : "";
  return `ip ${flag}route show table all; ip ${flag}rule # and delete the route or rule in the program that added it`;
}

function showRules(address: Address, port: number | undefined): string {
  const flag = familyOf(address) === 6 ? "-6 " : "";
  return `ip ${flag}rule; ip ${flag}route get ${address} ipproto udp dport ${port} # and delete the rule in the program that added it`;
}

/** The kernel does not say whether a rule or a route decided. */
function wayTaker({ hasPolicyRules }: WayContext): FindingName {
  return hasPolicyRules ? "policy-rule" : "route-more-specific";
}

/** Slashes, since names of devices contain dots. */
function dotted(family: Family, device: string, key: string): string {
  return `net/ipv${family}/conf/${device}/${key}`;
}

function packetsOf(step: FaultContext["step"], whom: string, incoming: string): string {
  if (step === "in") return `packets from ${whom} for containers of this host`;
  return `packets for ${whom}${step === "forward" ? ` that arrive on ${incoming}` : ""}`;
}

function plannedHop(step: WayStep, { gateway }: PlannedWay, device: string | undefined): string | undefined {
  return step === "in" || gateway === undefined ? device : `${gateway} dev ${device}`;
}

function detour({ step, address, way, context, incoming }: FaultContext, found: FoundWay): WayFault | undefined {
  const family = familyOf(way.subnet);
  const expected = step === "in" ? context.inside[family]?.device.name : way.device;
  const isLocal = found.type === rtn.local;
  const isRight = !isLocal && found.device === expected;
  // Of a tunnel any next hop will do; a gateway has to be the peer's own host.
  if (isRight && (step === "in" || way.gateway === undefined || found.gateway === way.gateway)) return undefined;
  const place = isLocal ? "end on this host" : `leave through ${hopText(found)}`;
  const plan = plannedHop(step, way, expected);
  const table = found.table === routeTable.main ? "" : ` (table ${found.table})`;
  const tail = `${place}${table} instead of ${plan}`;
  const network = context.network[family];
  const isOtherTable = found.table !== routeTable.main && found.table !== routeTable.local;
  const rule = (verb: "add" | "del") => `${family === 6 ? "-6 " : ""}rule ${verb} pref 1 to ${network} lookup main`;
  const isFixable = isOtherTable && network !== undefined;
  const remedy = isFixable
    ? `ip ${rule("add")}`
    : `ip ${family === 6 ? "-6 " : ""}route get ${address} # and delete the route in the program that added it`;
  // The gateway of a plan differs from peer to peer: it is no part of the cause.
  const name = isOtherTable ? "policy-rule" : "route-more-specific";
  return {
    name,
    step,
    address,
    cause: `${step}: ${place}${table}`,
    evidence: (whom) => `${packetsOf(step, whom, incoming)} ${tail}`,
    remedy,
    ...(isFixable && { fix: [runIp(rule("add"), rule("del"))] }),
  };
}

function hopText({ device, gateway }: FoundWay): string {
  return gateway === undefined ? device : `${device} via ${gateway}`;
}

function underlayFault({ step, address, way, context }: FaultContext, found: FoundWay): WayFault | undefined {
  const isDirect = way.gateway !== undefined;
  if (context.ownDevices.has(found.device)) {
    const evidence = (whom: string) =>
      `packets for ${address}, the host of ${whom}, are routed into the tunnel ${found.device} itself`;
    return {
      name: "network-overlap",
      step,
      address,
      cause: `host behind ${found.device}`,
      evidence,
      remedy: `ip route get ${address} # another Network, or another subnet for that host`,
    };
  }
  if (!isDirect || (found.gateway === undefined && found.device === way.device)) return undefined;
  const evidence = (whom: string) =>
    `${address}, the host of ${whom}, is not on the link of ${way.device} (the kernel reaches it through ${hopText(found)}), so it cannot be a next hop`;
  const remedy = "flannelctl config set # a vxlan backend with DirectRouting: host-gw needs all hosts on one link";
  return { name: "nexthop-offlink", step, address, cause: `off the link of ${way.device}`, evidence, remedy };
}

/**
 * Addresses of the subnet to ask for: its first one for a container, and one that differs from look to look, so that in
 * time a route to any part of it is found. `turn` counts looks.
 */
export function sampleAddresses(subnet: Prefix, turn: number): Address[] {
  const size = prefixSize(subnet);
  const first = networkAddress(subnet);
  if (size <= 4n) return [addToAddress(first, size > 1n ? 1n : 0n)];
  // Steps of an odd part of a power of two visit every address.
  const stride = ((size * 5n) >> 3n) | 1n;
  const other = 2n + ((BigInt(turn) * stride) % (size - 3n));
  return [addToAddress(first, 1n), addToAddress(first, other)];
}

/** An address of our subnet that a container could have: beside that of the bridge, which is the host's own. */
export function containerBeside(bridge: Address, subnet: Prefix): Address {
  const next = addToAddress(bridge, 1n);
  const isUsable =
    containsAddress(subnet, next) && next !== addToAddress(networkAddress(subnet), prefixSize(subnet) - 1n);
  return isUsable ? next : addToAddress(bridge, -1n);
}
