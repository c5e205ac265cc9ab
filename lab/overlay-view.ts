// All that flannel keeps on a host as one list of operators' lines, as found and as the leases in etcd demand it. The
// demand is written from flannel's documented forms alone, not from the agent's code.
import type { LabHost } from "./host.ts";
import { addresses, fdb, neighbours, routes } from "./kernel-view.ts";
import type { LeaseView } from "./lease-view.ts";
import type { Namespace } from "./namespace.ts";

export interface OverlayForm {
  readonly backend: "vxlan" | "host-gw" | "alloc";
  /** Hosts on one LAN reach each other without the tunnel. Default false. */
  readonly directRouting?: boolean;
  /** Default 1. */
  readonly vni?: number;
  /** MTU of the external interface, default 1500. */
  readonly mtuBytes?: number;
}

const overheadBytes = { v4: 50, v6: 70 };

/** Routes, neighbours, forwarding entries, addresses and vxlan devices of a host, without what the kernel makes itself. */
export async function overlayLines(namespace: Namespace): Promise<readonly string[]> {
  const texts = (await namespace.ip("-o", "-d", "link", "show", "type", "vxlan")).split("\n");
  const links = texts.filter((text) => text !== "").map((text) => linkLine(text));
  const names = links.map((line) => line.split(" ")[1] ?? "");
  const onDevices = names.map(async (name) => [
    ...(await neighbours(namespace, name)).map((line) => `neigh ${name} ${line}`),
    ...(await fdb(namespace, name)).map((line) => `fdb ${name} ${line}`),
    ...(await addresses(namespace, name)).map((address) => `addr ${name} ${address}`),
  ]);
  const found = (await routes(namespace)).filter((line) => !/ proto kernel |^default /.test(line));
  return [...links, ...(await Promise.all(onDevices)).flat(), ...found.map((line) => `route ${line}`)];
}

/** `link flannel.1 mtu 1450 <mac> vxlan id 1 local … noudp6zerocsumrx`, with `DOWN` when it is. */
function linkLine(text: string): string {
  const [, name, flags, mtu] = /^\d+: ([^:]+): <([^>]*)> mtu (\d+) /.exec(text) ?? [];
  const [, mac] = /link\/ether (\S+)/.exec(text) ?? [];
  const [driver] = /vxlan id .*?(?= addrgenmode)/.exec(text) ?? [];
  const state = flags?.split(",").includes("UP") === true ? "" : " DOWN";
  return `link ${name} mtu ${mtu} ${mac} ${driver?.trim()}${state}`;
}

/** What `overlayLines` must show on a host when these are all the leases there are. */
export function expectedOverlay(host: LabHost, all: readonly LeaseView[], form: OverlayForm): readonly string[] {
  const own = all.find((lease) => isOf(host, lease));
  if (own === undefined) throw new Error(`${host.name} has no lease in etcd`);
  if (form.backend === "alloc") return [];
  const peers = all.filter((lease) => lease !== own && lease.backend === form.backend);
  return [
    ...(form.backend === "vxlan" ? deviceLines(host, own, form) : []),
    ...peers.flatMap((peer) => peerLines(host, peer, form)),
  ];
}

function isOf(host: LabHost, lease: LeaseView): boolean {
  return host.ipv4 === undefined ? lease.publicIpv6 === host.ipv6 : lease.publicIp === host.ipv4;
}

function deviceLines(host: LabHost, own: LeaseView, form: OverlayForm): readonly string[] {
  const { vni = 1, mtuBytes = 1500 } = form;
  const lines: string[] = [];
  const add = (name: string, mtu: number, mac: string | undefined, local: string | undefined, address: string) => {
    const driver =
      `vxlan id ${vni} local ${local} dev eth0 srcport 0 0 dstport 8472 nolearning ttl auto ageing 300 ` +
      "udpcsum noudp6zerocsumtx noudp6zerocsumrx";
    lines.push(`link ${name} mtu ${mtu} ${mac} ${driver}`, `addr ${name} ${address}`);
  };
  if (own.subnet !== undefined) {
    add(`flannel.${vni}`, mtuBytes - overheadBytes.v4, own.mac, host.ipv4, `${networkOf(own.subnet)}/32`);
  }
  if (own.ipv6Subnet !== undefined) {
    add(`flannel-v6.${vni}`, mtuBytes - overheadBytes.v6, own.macV6, host.ipv6, `${networkOf(own.ipv6Subnet)}/128`);
  }
  return lines;
}

function peerLines(host: LabHost, peer: LeaseView, form: OverlayForm): readonly string[] {
  const { vni = 1, mtuBytes = 1500 } = form;
  const lines: string[] = [];
  const add = (device: string, subnet: string, mac: string | undefined, publicIp: string | undefined, end: string) => {
    if (form.backend === "host-gw" || (form.directRouting === true && isOnLanOf(host, publicIp))) {
      lines.push(`route ${subnet} via ${publicIp} dev eth0 proto 241${end}`);
      return;
    }
    const gateway = networkOf(subnet);
    // Containers of a dual-stack network have IPv4's MTU.
    const mtu = peer.subnet === undefined ? "" : ` mtu ${mtuBytes - overheadBytes.v6}`;
    lines.push(`route ${subnet} via ${gateway} dev ${device}${end.replace(" pref", ` onlink${mtu} pref`)}`);
    lines.push(`neigh ${device} ${gateway} lladdr ${mac} PERMANENT`);
    lines.push(`fdb ${device} ${mac} dst ${publicIp} self permanent`);
  };
  if (peer.subnet !== undefined) add(`flannel.${vni}`, peer.subnet, peer.mac, peer.publicIp, "");
  if (peer.ipv6Subnet !== undefined) {
    add(`flannel-v6.${vni}`, peer.ipv6Subnet, peer.macV6, peer.publicIpv6, " metric 1024 pref medium");
  }
  // IPv4 routes show `onlink` last, IPv6 ones before the preference.
  return lines.map((line) => (/^route [\d.]+\/\d+ via \S+ dev flannel/.test(line) ? `${line} onlink` : line));
}

function networkOf(subnet: string): string {
  return subnet.split("/")[0] ?? "";
}

/** The lab's LANs differ in the third and second group of their addresses: 192.168.50.x, fd00:50::x. */
function isOnLanOf(host: LabHost, address: string | undefined): boolean {
  const lanOf = (text: string | undefined) => text?.replace(/[.:][^.:]*$/, "");
  return lanOf(address) === lanOf(address?.includes(":") === true ? host.ipv6 : host.ipv4);
}
