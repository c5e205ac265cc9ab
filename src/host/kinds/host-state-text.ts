// A HostState as lines an operator knows from `ip`, `bridge` and `sysctl`: for tests, logs, `flannelctl plan` and the
// support bundle. Pure.
import { familyOf, type Prefix } from "../../ip/address.ts";
import { BLACKHOLE_METRIC, FLANNEL_PROTOCOL } from "../../netlink/rtnetlink/messages.ts";
import type {
  HostAddress,
  HostBlackhole,
  HostFdbEntry,
  HostLink,
  HostNeighbour,
  HostRoute,
  HostState,
  HostSysctl,
  VxlanLink,
} from "./host-state.ts";

/** One line per object, in the order they are programmed. */
export function hostStateLines(state: HostState): string[] {
  const ownDevices = new Set(state.links.map((link) => link.name));
  return [
    ...state.links.map(linkLine),
    ...state.sysctls.map(sysctlLine),
    ...state.addresses.map(addressLine),
    ...state.neighbours.map(neighbourLine),
    ...state.fdb.map(fdbLine),
    ...state.routes.map((route) => routeLine(route, ownDevices.has(route.device))),
    ...(state.blackholes ?? []).map(blackholeLine),
  ];
}

/** The arguments of the `ip link add` that would make it. */
export function linkLine(link: HostLink): string {
  if (link.kind === "tun") return `${link.name} mtu ${link.mtuBytes} type tun`;
  // Port 0 leaves the choice to the kernel, which is 8472 unless its module was loaded otherwise.
  return vxlanLine({ ...link, port: link.port === 0 ? 8472 : link.port });
}

/** Like `linkLine`, for a device as found, which may lack some of it. */
export function vxlanLine(link: VxlanText): string {
  const parts = [link.name];
  if (link.mac !== undefined) parts.push("address", link.mac);
  parts.push("mtu", String(link.mtuBytes), "type vxlan id", String(link.vni));
  if (link.local !== undefined) parts.push("local", link.local);
  if (link.underlay !== undefined) parts.push("dev", link.underlay);
  parts.push("dstport", String(link.port), link.learning ? "learning" : "nolearning");
  if (link.gbp) parts.push("gbp");
  return parts.join(" ");
}

export type VxlanText = Pick<VxlanLink, "name" | "mtuBytes" | "vni" | "port" | "learning" | "gbp"> & {
  readonly mac?: string;
  readonly local?: string;
  readonly underlay?: string;
};

/** As in `ip address`. */
export function addressLine(address: HostAddress): string {
  return `${familyOf(address.address) === 4 ? "inet" : "inet6"} ${address.address} scope global ${address.device}`;
}

/** As `sysctl` prints it: dots and slashes of the path change places. */
export function sysctlLine(sysctl: HostSysctl): string {
  return `${sysctl.key.replaceAll(/[./]/g, (mark) => (mark === "." ? "/" : "."))} = ${sysctl.value}`;
}

/** As in `ip neigh`. */
export function neighbourLine(neighbour: HostNeighbour): string {
  return `${neighbour.address} dev ${neighbour.device} lladdr ${neighbour.mac} PERMANENT`;
}

/** As in `bridge fdb`. */
export function fdbLine(entry: HostFdbEntry): string {
  return `${entry.mac} dev ${entry.device} dst ${entry.destination} self permanent`;
}

/** As in `ip route` and `ip -6 route`; a route on a device that is not ours shows our protocol number. */
export function routeLine(route: HostRoute, isOnOwnDevice: boolean): string {
  const family = familyOf(route.destination);
  const parts: string[] = [bareHost(route.destination)];
  if (route.gateway !== undefined) parts.push("via", route.gateway);
  parts.push("dev", route.device);
  if (!isOnOwnDevice) parts.push("proto", String(FLANNEL_PROTOCOL));
  if (family === 6) parts.push("metric 1024");
  if (route.onLink) parts.push("onlink");
  if (family === 6) parts.push("pref medium");
  return parts.join(" ");
}

/** As in `ip route`. */
export function blackholeLine({ destination }: HostBlackhole): string {
  const device = familyOf(destination) === 6 ? " dev lo" : "";
  return `blackhole ${bareHost(destination)}${device} proto ${FLANNEL_PROTOCOL} metric ${BLACKHOLE_METRIC}`;
}

/** iproute2 leaves out the length of a single host. */
function bareHost(prefix: Prefix): string {
  return prefix.replace(familyOf(prefix) === 4 ? /\/32$/ : /\/128$/, "");
}
