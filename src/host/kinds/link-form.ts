// What devices of ours look like, as wanted and as found: comparison and text. Pure; the kind is link.ts.
import { type Address, familyOf } from "../../ip/address.ts";

/** The UDP port that the kernel chooses, unless its module was given another one. */
export const KERNEL_VXLAN_PORT = 8472;

/** A vxlan device (VTEP). Everything but `vni`, `port`, `gbp` can be changed on the living device. */
export interface VxlanLink {
  readonly kind: "vxlan";
  /** At most 15 bytes (IFNAMSIZ), as all names of devices. */
  readonly name: string;
  /** Lower case, colons. */
  readonly mac: string;
  /** Of the packets inside, as all `mtuBytes` of devices: the outer headers come on top. */
  readonly mtuBytes: number;
  /** 0 to 16,777,215. */
  readonly vni: number;
  /** UDP port, up to 65,535; 0: the kernel's, `KERNEL_VXLAN_PORT`. */
  readonly port: number;
  /** Source address of the outer packets; its family is the underlay's. */
  readonly local: Address;
  /** Device the outer packets leave through. */
  readonly underlay: string;
  /** It learns the hosts of MAC addresses from packets; the kernel's default is on, ours is off. */
  readonly learning: boolean;
  /** The group based policy extension (IFLA_VXLAN_GBP). */
  readonly gbp: boolean;
}

/** A TUN device, which a process of ours attaches to. It stays when the process ends. */
export interface TunLink {
  readonly kind: "tun";
  readonly name: string;
  readonly mtuBytes: number;
}

/** A WireGuard device: the kernel's (Linux 5.6), or a TUN device of a program where the kernel has none. */
export interface WireguardLink {
  readonly kind: "wireguard";
  readonly name: string;
  readonly mtuBytes: number;
}

/** An ipip device for all peers: routes say where packets go. All of it can be changed on the living device. */
export interface IpipLink {
  readonly kind: "ipip";
  readonly name: string;
  readonly mtuBytes: number;
  /** Source address of the outer packets, IPv4. */
  readonly local: Address;
}

/** A device that puts IPv6 packets into IPv6 packets, with the addresses that routes tell (`encapsulation` of a route; Linux 4.9). */
export interface Ip6tnlLink {
  readonly kind: "ip6tnl";
  readonly name: string;
  readonly mtuBytes: number;
}

/** Devices we create, own and delete. */
export type HostLink = VxlanLink | TunLink | WireguardLink | IpipLink | Ip6tnlLink;

/** A device that bears one of our names, or did until it was renamed. */
export interface ObservedLink {
  /** Of ours. */
  readonly name: string;
  /** What it is called now, where that is something else. */
  readonly renamedTo?: string;
  /** Of this network namespace; another one when the device is made again. */
  readonly index: number;
  /** IFLA_INFO_KIND; missing for physical devices. */
  readonly kind?: string;
  /** Lower case, colons. */
  readonly mac?: string;
  readonly mtuBytes: number;
  readonly isUp: boolean;
  /** A TUN device that a program serves as a WireGuard device. */
  readonly isUserspaceWireguard?: true;
  readonly vxlan?: {
    readonly vni: number;
    readonly port: number;
    readonly gbp: boolean;
    readonly learning: boolean;
    readonly local?: Address;
    /** Multicast group, or the host that gets what no entry names; ours have none. */
    readonly group?: Address;
    /** Missing: none, or it is gone. */
    readonly underlay?: string;
    /** It notifies of entries that it lacks: of the forwarding table, of neighbours. Ours do not. */
    readonly l2miss: boolean;
    readonly l3miss: boolean;
  };
  /** Of an ipip or ip6tnl device. */
  readonly ipip?: ObservedIpip;
}

export interface ObservedIpip {
  readonly local?: Address;
  /** What differs from ours (of ipip, from upstream's) besides its address, as words of a line; missing: nothing. */
  readonly deviation?: string;
  /** Takes the outer addresses from routes. Cannot be changed on the living device. */
  readonly isExternal: boolean;
}

export type LinkField = "name" | "mac" | "mtu" | "local" | "settings" | "underlay" | "learning" | "up" | "identity";

/**
 * What has to change on a living device. `identity` (VNI, port, GBP, family of the outer address, group) cannot be
 * changed: the device has to be recreated (seen on Linux 6.18: "Cannot change port", "cannot change GBP flag",
 * "New local address family does not match old").
 */
export function linkChanges(desired: HostLink, observed: ObservedLink): readonly LinkField[] {
  const changes = desired.kind === "vxlan" ? vxlanChanges(desired, observed) : plainChanges(desired, observed);
  return observed.renamedTo === undefined ? changes : ["name", ...changes];
}

function plainChanges(desired: Exclude<HostLink, VxlanLink>, observed: ObservedLink): readonly LinkField[] {
  if (!isOfKind(desired, observed) || hasOtherIdentity(desired, observed.ipip)) return ["identity"];
  const changes: LinkField[] = [];
  if (desired.kind === "ipip" && observed.ipip?.local !== desired.local) changes.push("local");
  if (observed.ipip?.deviation !== undefined) changes.push("settings");
  if (observed.mtuBytes !== desired.mtuBytes) changes.push("mtu");
  if (!observed.isUp) changes.push("up");
  return changes;
}

/** The kernel changes no settings of an external device. */
function hasOtherIdentity({ kind }: HostLink, found: ObservedIpip | undefined): boolean {
  if (kind !== "ip6tnl") return found?.isExternal === true;
  return found?.isExternal !== true || found.deviation !== undefined || found.local !== undefined;
}

function vxlanChanges(desired: VxlanLink, observed: ObservedLink): readonly LinkField[] {
  const vxlan = observed.vxlan;
  if (vxlan === undefined) return ["identity"];
  const changes: LinkField[] = [];
  const hasOtherIdentity =
    vxlan.vni !== desired.vni ||
    (desired.port !== 0 && vxlan.port !== desired.port) ||
    vxlan.gbp !== desired.gbp ||
    vxlan.group !== undefined ||
    vxlan.l2miss ||
    vxlan.l3miss ||
    (vxlan.local !== undefined && familyOf(vxlan.local) !== familyOf(desired.local));
  if (hasOtherIdentity) changes.push("identity");
  if (observed.mac !== desired.mac) changes.push("mac");
  if (observed.mtuBytes !== desired.mtuBytes) changes.push("mtu");
  if (vxlan.local !== desired.local) changes.push("local");
  if (vxlan.underlay !== desired.underlay) changes.push("underlay");
  if (vxlan.learning !== desired.learning) changes.push("learning");
  if (!observed.isUp) changes.push("up");
  return changes;
}

function isOfKind(desired: HostLink, observed: ObservedLink): boolean {
  if (observed.isUserspaceWireguard === true) return desired.kind === "wireguard";
  return observed.kind === desired.kind;
}

/** A device of another kind that bears our name is another program's: why it cannot be used, undefined when it can. */
export function foreignLinkReason(desired: HostLink, observed: ObservedLink): string | undefined {
  if (isOfKind(desired, observed)) return undefined;
  const kind = observed.kind ?? "physical device";
  return `${desired.name} exists as a ${kind}, not as a ${desired.kind} device of flannel; rename it, or delete it with: ip link delete dev ${desired.name}`;
}

const IP6TNL_MODE = "mode ip6ip6 external";

/** The arguments of the `ip link add` that would make it. */
export function linkLine(link: HostLink): string {
  if (link.kind === "ipip") return `${link.name} mtu ${link.mtuBytes} type ipip local ${link.local}`;
  if (link.kind === "ip6tnl") return `${link.name} mtu ${link.mtuBytes} type ip6tnl ${IP6TNL_MODE}`;
  if (link.kind !== "vxlan") return `${link.name} mtu ${link.mtuBytes} type ${link.kind}`;
  return vxlanLine({ ...link, port: link.port === 0 ? KERNEL_VXLAN_PORT : link.port });
}

function observedTunnelForm(kind: string | undefined, ipip: NonNullable<ObservedLink["ipip"]>): string {
  const deviation = ipip.deviation === undefined ? "" : ` ${ipip.deviation}`;
  if (kind !== "ip6tnl") return `ipip local ${ipip.local ?? "any"}${deviation}`;
  const mode = ipip.isExternal ? IP6TNL_MODE : "mode ip6ip6";
  const local = ipip.local === undefined ? "" : ` local ${ipip.local}`;
  return `ip6tnl ${mode}${local}${deviation}`;
}

/** As `linkLine`, for a device as found, which may lack some of it. */
export function observedLinkLine({ renamedTo, mac, mtuBytes, isUp, vxlan, ipip, ...link }: ObservedLink): string {
  const name = renamedTo ?? link.name;
  const kind = link.isUserspaceWireguard === true ? "wireguard" : link.kind;
  const down = isUp ? "" : " state DOWN";
  if (kind === "tun" || kind === "wireguard") return `${name} mtu ${mtuBytes} type ${kind}${down}`;
  if (ipip !== undefined) return `${name} mtu ${mtuBytes} type ${observedTunnelForm(kind, ipip)}${down}`;
  if (vxlan === undefined) return [name, "type", kind ?? "physical"].join(" ");
  return `${vxlanLine({ name, mtuBytes, ...(mac === undefined ? {} : { mac }), ...vxlan })}${down}`;
}

function vxlanLine(link: VxlanText): string {
  const parts = [link.name];
  if (link.mac !== undefined) parts.push("address", link.mac);
  parts.push("mtu", String(link.mtuBytes), "type vxlan id", String(link.vni));
  if (link.local !== undefined) parts.push("local", link.local);
  if (link.underlay !== undefined) parts.push("dev", link.underlay);
  parts.push("dstport", String(link.port), link.learning ? "learning" : "nolearning");
  if (link.gbp) parts.push("gbp");
  return parts.join(" ");
}

type VxlanText = Pick<VxlanLink, "name" | "mtuBytes" | "vni" | "port" | "learning" | "gbp"> & {
  readonly mac?: string;
  readonly local?: string;
  readonly underlay?: string;
};
