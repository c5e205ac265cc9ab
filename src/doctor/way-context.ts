// Reads what the look-ups of ways need to know of this host: its devices, and behind which of them containers are.
import { type Address, type Family, familyOf, type Prefix, prefixAddress, prefixLength } from "../ip/address.ts";
import { containsAddress, hostText, networkOf } from "../ip/prefix.ts";
import { FLANNEL_PROTOCOL, type RouteMessage } from "../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { rtn } from "../netlink/uapi.ts";
import { readSysctl } from "../sys/sysctl.ts";
import { rpFilterKeyOf } from "./host-facts.ts";
import { containerBeside, type InsideDevice, type WayContext, type WayDevice } from "./peer-ways.ts";

export interface WayContextOptions {
  readonly networks: readonly Prefix[];
  readonly ownDevices: readonly string[];
  readonly ownSubnets: readonly Prefix[];
  /** As far as known; see `routedContainer`. */
  readonly routed: readonly RoutedContainer[];
  /** See `WayContext`. */
  readonly tunnelPort?: number | undefined;
}

type Inside = Partial<Record<Family, InsideDevice>>;

/** More bridges with addresses of one subnet are a muddle that other checks tell. */
const MAX_CANDIDATES = 4;

/** Names, each once: both families have one bridge. */
export function insideDevicesOf({ inside }: Pick<WayContext, "inside">): readonly string[] {
  return [...new Set(Object.values(inside).map(({ device }) => device.name))];
}

export async function readWayContext(netlink: Rtnetlink, options: WayContextOptions): Promise<WayContext> {
  const { networks, ownSubnets, routed, tunnelPort } = options;
  const ownDevices = new Set(options.ownDevices);
  const byName = new Map<string, WayDevice>();
  const byIndex = new Map<number, string>();
  const down = new Set<number>();
  for (const { index, name, isUp } of await netlink.dump("link")) {
    // The kernel takes the routes of a device that is down away: that is trouble of its own, and told as such.
    if (!isUp) down.add(index);
    byName.set(name, { index, name });
    byIndex.set(index, name);
  }
  const found = (await netlink.dump("address")).flatMap(({ index, address }) => {
    const name = byIndex.get(index);
    const subnet = ownSubnets.find((own) => containsAddress(own, prefixAddress(address)));
    if (name === undefined || subnet === undefined || ownDevices.has(name) || down.has(index)) return [];
    return [{ device: { index, name }, address, subnet }];
  });
  const containers = routed.flatMap(({ outIndex, container }) => {
    const name = byIndex.get(outIndex);
    return name === undefined || ownDevices.has(name) ? [] : [{ device: { index: outIndex, name }, container }];
  });
  const candidates = [
    ...found
      // The address of a single host: what is behind such a device has a route of its own.
      .filter(({ address }) => hostText(address) !== prefixAddress(address))
      .map(({ device, address, subnet }) => {
        const own = prefixAddress(address);
        return { device, address: own, container: containerBeside(own, subnet) };
      }),
    ...containers.slice(0, MAX_CANDIDATES),
  ];
  return {
    network: byFamily(networks),
    inside: await confirm(netlink, candidates),
    ownDevices,
    hasPolicyRules: await hasPolicyRules(netlink),
    ...(tunnelPort !== undefined && { tunnelPort }),
    isStrict,
    device: (name) => byName.get(name),
    name: (index) => byIndex.get(index ?? 0) ?? `device ${index ?? "?"}`,
  };
}

/** A container behind a device of its own, of a plugin without a bridge. */
export interface RoutedContainer {
  readonly outIndex: number;
  readonly container: Address;
}

/** Undefined when the route leads to no such container. */
export function routedContainer(route: RouteMessage, ownSubnets: readonly Prefix[]): RoutedContainer | undefined {
  const { destination, type, outIndex, gateway } = route;
  if (type !== rtn.unicast || gateway !== undefined || outIndex === undefined) return undefined;
  const isSingle = prefixLength(destination) === (familyOf(destination) === 4 ? 32 : 128);
  if (!isSingle || !ownSubnets.some((own) => containsAddress(own, prefixAddress(destination)))) return undefined;
  return { outIndex, container: prefixAddress(networkOf(destination)) };
}

/** The first of each family to whose container the kernel's own way leads through its device. */
async function confirm(netlink: Rtnetlink, candidates: readonly InsideDevice[]): Promise<Inside> {
  const inside: Inside = {};
  for (const family of [4, 6] as const) {
    const ofFamily = candidates.filter(({ container }) => familyOf(container) === family).slice(0, MAX_CANDIDATES);
    const answers = await netlink.routeLookups(ofFamily.map(({ container }) => ({ destination: container })));
    const index = answers.findIndex((answer, at) => answer.route?.outIndex === ofFamily[at]?.device.index);
    // Where none is confirmed, something leads their packets elsewhere: that is to be reported, of the first.
    const chosen = ofFamily[Math.max(0, index)];
    if (chosen !== undefined) inside[family] = chosen;
  }
  return inside;
}

const usualPriorities: ReadonlySet<number> = new Set([0, 32_766, 32_767]);

async function hasPolicyRules(netlink: Rtnetlink): Promise<boolean> {
  return (await netlink.dump("rule")).some(
    ({ priority, protocol, isL3mdev }) => !usualPriorities.has(priority) && protocol !== FLANNEL_PROTOCOL && !isL3mdev,
  );
}

/** The kernel takes the larger of `all` and the device's own value; 1 is strict, 2 is loose. */
function isStrict(device: string): boolean {
  const values = ["all", device].map((name) => {
    try {
      return Number(readSysctl(rpFilterKeyOf(name)) ?? 0);
    } catch {
      return 0;
    }
  });
  return Math.max(...values) === 1;
}

function byFamily(networks: readonly Prefix[]): Partial<Record<Family, Prefix>> {
  const entries = networks.map((network) => [familyOf(network), network] as const);
  return Object.fromEntries(entries);
}
