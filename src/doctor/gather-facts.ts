// Gathers the facts that checks judge, and only those that are needed.
import type { KernelDeviceKind } from "../backend/backend.ts";
import { hasCode } from "../errors.ts";
import type { Address, Prefix } from "../ip/address.ts";
import { networkOf, overlaps } from "../ip/prefix.ts";
import { missingParts } from "../ipsec/charon-process.ts";
import type { NetlinkRequest } from "../netlink/request.ts";
import { probeIp6tnl, probeIpip } from "../netlink/rtnetlink/ipip.ts";
import { FLANNEL_PROTOCOL, type LinkMessage } from "../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { createVxlan } from "../netlink/rtnetlink/vxlan.ts";
import { routeTable, rtn } from "../netlink/uapi.ts";
import { hasKernelEsp } from "../netlink/xfrm/xfrm-control.ts";
import { readFileOrEmpty } from "../sys/files.ts";
import { readSysctl } from "../sys/sysctl.ts";
import { type CheckContext, incomingDevices } from "./check.ts";
import {
  deviceForwardingKeyOf,
  type FactName,
  forwardingKeyOf,
  type HostFacts,
  ipv6OffKeyOf,
  noFacts,
  rpFilterKeyOf,
} from "./host-facts.ts";
import { readPolicyRouting } from "./read-policy-routing.ts";

export type PacketDropFinder = (context: CheckContext) => Promise<HostFacts["packetDrops"]>;

type LinkNames = ReadonlyMap<number, string>;

export class FactGatherer {
  /** Stays the caller's. */
  readonly #netlink: Rtnetlink;
  readonly #findPacketDrops: PacketDropFinder;
  readonly #unreadableRules: () => HostFacts["unreadableRules"];
  readonly #wayFindings: () => HostFacts["wayFindings"];
  /** Kinds of devices that the kernel is known to make. */
  readonly #madeKinds = new Set<string>();

  constructor(
    netlink: Rtnetlink,
    findPacketDrops: PacketDropFinder,
    unreadableRules: () => HostFacts["unreadableRules"],
    wayFindings: () => HostFacts["wayFindings"],
  ) {
    this.#netlink = netlink;
    this.#findPacketDrops = findPacketDrops;
    this.#unreadableRules = unreadableRules;
    this.#wayFindings = wayFindings;
  }

  /** Facts that are not needed are empty. Throws when the kernel cannot be read. */
  async gather(needs: ReadonlySet<FactName>, context: CheckContext): Promise<HostFacts> {
    const isOfLinks = (
      ["routes", "addresses", "bridges", "foreignUdpPorts", "policyRouting", "deviceRefusal"] as const
    ).some((fact) => needs.has(fact));
    const links = isOfLinks ? await this.#netlink.dump("link") : [];
    const names: LinkNames = new Map(links.map((link) => [link.index, link.name]));
    return {
      ...noFacts,
      ...(needs.has("sysctls") && { sysctls: readSysctls(context) }),
      ...(needs.has("addresses") && { addresses: await this.#addresses(context, names) }),
      ...(needs.has("bridges") && { bridges: await this.#bridges(links) }),
      ...(needs.has("routes") && { routes: await this.#routes(context, names) }),
      ...(needs.has("deviceRefusal") && { deviceRefusal: await this.#deviceRefusal(context, links) }),
      ...(needs.has("policyRouting") && {
        policyRouting: await readPolicyRouting(this.#netlink, context.networks, names),
      }),
      ...(needs.has("packetDrops") && { packetDrops: await this.#findPacketDrops(context) }),
      ...(needs.has("wayFindings") && { wayFindings: this.#wayFindings() }),
      ...(needs.has("unreadableRules") && { unreadableRules: this.#unreadableRules() }),
      ...(needs.has("missingIpsec") && { missingIpsec: missingParts({ isUserspace: !hasKernelEsp() }) }),
      ...(needs.has("foreignUdpPorts") && { foreignUdpPorts: await this.#foreignUdpPorts(links, context) }),
    };
  }

  /**
   * The kernel's own sockets of vxlan are listed like any other: those of devices that are up. The port of a device that came up, or
   * was replaced, between the two readings is no foreign one: what is in question is read once more, both.
   */
  async #foreignUdpPorts(links: readonly LinkMessage[], { needs }: CheckContext): Promise<ReadonlySet<number>> {
    const foreign = readListedPorts().difference(vxlanPorts(links));
    const wanted = needs.kernelDevice?.udpPort;
    if (wanted === undefined || !foreign.has(wanted)) return foreign;
    const stillForeign = foreign.difference(vxlanPorts(await this.#netlink.dump("link")));
    return stillForeign.intersection(readListedPorts());
  }

  /** Only those that share addresses with the network: a host may have thousands of others. */
  async #addresses(context: CheckContext, names: LinkNames): Promise<HostFacts["addresses"]> {
    return await this.#netlink.dumpAs("address", {}, ({ index, address }) => {
      if (!context.networks.some((network) => overlaps(network, networkOf(address)))) return undefined;
      return isForeign(index, context, names) ? { address, device: names.get(index) ?? "?" } : undefined;
    });
  }

  async #bridges(links: readonly LinkMessage[]): Promise<HostFacts["bridges"]> {
    const bridges = new Map(
      links
        .filter(({ kind }) => kind === "bridge")
        .map(({ name, index }) => [index, { name, addresses: [] as Prefix[], attached: 0 }]),
    );
    for (const { masterIndex } of links) {
      const bridge = bridges.get(masterIndex ?? 0);
      if (bridge !== undefined) bridge.attached++;
    }
    await this.#netlink.dumpAs("address", {}, ({ index, address }): undefined => {
      bridges.get(index)?.addresses.push(address);
    });
    return [...bridges.values()];
  }

  /** Only those that share addresses with the network: a host may have the routes of the whole Internet. */
  async #routes(context: CheckContext, names: LinkNames): Promise<HostFacts["routes"]> {
    const filter = { table: routeTable.main, exceptProtocol: FLANNEL_PROTOCOL, overlapping: context.networks };
    return await this.#netlink.dumpAs("route", filter, ({ type, destination, outIndex, gateway }) => {
      if (type !== rtn.unicast || !isForeign(outIndex, context, names)) return undefined;
      return { destination, device: names.get(outIndex ?? 0) ?? "?", hasGateway: gateway !== undefined };
    });
  }

  /** Asks for a device that cannot be: a kernel that knows its kind (or loads it now) rejects the value, any other the kind. */
  async #deviceRefusal(
    { needs: { kernelDevice }, externalInterface }: CheckContext,
    links: readonly LinkMessage[],
  ): Promise<HostFacts["deviceRefusal"]> {
    for (const kind of [kernelDevice?.kind, kernelDevice?.furtherKind]) {
      if (kind === undefined || this.#madeKinds.has(kind)) continue;
      if (!links.some((link) => link.kind === kind)) {
        const [error] = await this.#netlink.apply([probeOf(kind, externalInterface.index)]);
        if (hasCode(error, "KERNEL_UNSUPPORTED")) return { kind, refusal: error.message };
      }
      this.#madeKinds.add(kind);
    }
    return undefined;
  }
}

function probeOf(kind: KernelDeviceKind, underlayIndex: number): NetlinkRequest {
  if (kind === "ipip") return probeIpip();
  return kind === "ip6tnl" ? probeIp6tnl() : probeVxlan(underlayIndex);
}

/** With a VNI that does not exist. */
function probeVxlan(underlayIndex: number): NetlinkRequest {
  return createVxlan({
    name: "flannel.probe",
    mac: "02:00:00:00:00:00",
    mtuBytes: 1_450,
    vni: 1 << 24,
    port: 0,
    local: "127.0.0.1" as Address,
    underlayIndex,
    learning: false,
    gbp: false,
  });
}

function isForeign(index: number | undefined, { devices }: CheckContext, names: LinkNames): boolean {
  return !devices.includes(names.get(index ?? 0) ?? "");
}

function readSysctls(context: CheckContext): ReadonlyMap<string, string> {
  const { externalInterface, devices } = context;
  const filters = readValues(["all", externalInterface.name, ...devices].map(rpFilterKeyOf));
  const others = readValues([
    ...[...devices, ...(context.insideDevices ?? [])].map(ipv6OffKeyOf),
    ...["all", externalInterface.name].map((device) => `net/ipv4/conf/${device}/arp_ignore`),
    ...["net/ipv4/icmp_echo_ignore_all", "net/ipv6/icmp/echo_ignore_all", "net/ipv6/conf/all/disable_ipv6"],
  ]);
  return new Map([...readForwarding(context), ...filters, ...others]);
}

/** Of both families, and of the devices that matter. */
export function readForwarding(context: CheckContext): ReadonlyMap<string, string> {
  const devices = ["default", ...incomingDevices(context)].map(deviceForwardingKeyOf);
  return readValues([forwardingKeyOf(4), forwardingKeyOf(6), ...devices]);
}

function readValues(keys: readonly string[]): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const key of keys) {
    const value = readOrSkip(key);
    if (value !== undefined) values.set(key, value);
  }
  return values;
}

/** A check cannot judge what it cannot read. */
function readOrSkip(key: string): string | undefined {
  try {
    return readSysctl(key);
  } catch {
    return undefined;
  }
}

function readListedPorts(): Set<number> {
  return new Set(["/proc/net/udp", "/proc/net/udp6"].flatMap((file) => readUdpPorts(readFileOrEmpty(file))));
}

function vxlanPorts(links: readonly LinkMessage[]): ReadonlySet<number> {
  return new Set(links.flatMap(({ isUp, vxlan }) => (isUp && vxlan !== undefined ? [vxlan.port] : [])));
}

/** Local ports of a /proc/net/udp listing. */
export function readUdpPorts(text: string): number[] {
  return [...text.matchAll(/^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) /gm)].map((match) => Number.parseInt(match[1] ?? "", 16));
}
