// What carries packets to a peer, station by station: neighbour and forwarding entry of vxlan, peer of WireGuard, and the device
// with its MTU. As the kernel has it, beside what the agent wants.

import type { DesiredWay } from "../../../agent/control/trace-protocol.ts";
import { type Address, familyOf, prefixLength, tryParseAddress } from "../../../ip/address.ts";
import { containsAddress } from "../../../ip/prefix.ts";
import { endpointText, type PeerState } from "../../../netlink/genetlink/wireguard-device.ts";
import type { LinkMessage } from "../../../netlink/rtnetlink/messages.ts";
import type { RouteAnswer } from "../../../netlink/rtnetlink/rtnetlink.ts";
import { readDevice } from "../../../wireguard/device-control.ts";
import { deviceCounters } from "./device-counters.ts";
import type { KernelView } from "./kernel-view.ts";
import { neighbourText } from "./route-text.ts";
import type { TraceLine } from "./trace-line.ts";

export interface CarrierWay {
  readonly lines: readonly TraceLine[];
  /** Where the packets go then, by what the kernel says; of the plan where it does not say. */
  readonly outside?: Address;
}

export async function carrierLines(
  view: KernelView,
  desired: DesiredWay,
  address: Address,
  { route }: RouteAnswer,
): Promise<CarrierWay> {
  const device =
    route === undefined ? desired.route?.device : view.context.name(route.outIndex ?? route.nextHops?.[0]?.outIndex);
  const link = view.links.find(({ name }) => name === device);
  const gateway = route?.gateway ?? tryParseAddress(desired.route?.gateway ?? "");
  const planned = tryParseAddress(desired.outside?.address ?? "");
  const ends = await endsOf(view, desired, { address, link, gateway });
  const outside = ends.outside ?? planned;
  const lines = [...ends.lines, ...(device === undefined ? [] : deviceLines(desired, device, link, route?.mtuBytes))];
  return { lines, ...(outside !== undefined && { outside }) };
}

interface Found {
  readonly address: Address;
  readonly link: LinkMessage | undefined;
  readonly gateway: Address | undefined;
}

async function endsOf(view: KernelView, desired: DesiredWay, found: Found): Promise<CarrierWay> {
  const { link, gateway } = found;
  switch (desired.carriedBy) {
    case "vxlan":
      return await vxlanEnds(view, desired, found);
    case "wireguard":
      return await wireguardEnds(desired, found);
    case "ipip":
    case "direct":
      return { lines: [], ...(gateway !== undefined && { outside: gateway }) };
    case "udp":
      return {
        lines: [
          {
            station: "neighbour",
            text: `the agent's own table: ${desired.lease?.subnet ?? ""} to ${desired.outside?.address ?? "?"} port ${desired.outside?.port ?? "?"}`,
            verdict: link === undefined ? "unknown" : "note",
          },
        ],
      };
    default:
      return { lines: [] };
  }
}

const WAIT_FOR_REPAIR = "flannelctl plan # the agent repairs it within seconds; if not, see its log";

async function vxlanEnds(view: KernelView, desired: DesiredWay, { link, gateway }: Found): Promise<CarrierWay> {
  if (link === undefined || gateway === undefined) return { lines: [] };
  const lines: TraceLine[] = [];
  const neighbour = (await view.neighbours(link.name, familyOf(gateway))).find(({ address }) => address === gateway);
  const wanted = desired.neighbour;
  const isRight = neighbour !== undefined && neighbour.mac === wanted?.mac;
  lines.push({
    station: "neighbour",
    text: neighbour === undefined ? `none for ${gateway} on ${link.name}` : neighbourText(neighbour, link.name),
    verdict: isRight ? "ok" : neighbour?.mac === undefined ? "bad" : "differs",
    ...(!isRight && wanted !== undefined && { desired: `${wanted.address} dev ${wanted.device} lladdr ${wanted.mac}` }),
    ...(!isRight && { remedy: WAIT_FOR_REPAIR }),
  });
  const mac = neighbour?.mac ?? wanted?.mac;
  if (mac === undefined) return { lines };
  const entries = (await view.netlink.dump("fdb", { index: link.index })).filter((entry) => entry.mac === mac);
  const destinations = entries.flatMap(({ destination }) => destination ?? []);
  lines.push(fdbLine(desired, mac, link.name, destinations));
  const [destination] = destinations;
  return { lines, ...(destination !== undefined && { outside: destination }) };
}

function fdbLine({ fdb }: DesiredWay, mac: string, device: string, destinations: readonly Address[]): TraceLine {
  const hasEntry = destinations.length > 0;
  const isThere = destinations.some((one) => one === fdb?.destination);
  return {
    station: "fdb",
    text: hasEntry ? `${mac} dev ${device} dst ${destinations.join(", ")}` : `no entry for ${mac} on ${device}`,
    verdict: isThere ? "ok" : hasEntry ? "differs" : "bad",
    ...(!isThere && fdb !== undefined && { desired: `${fdb.mac} dst ${fdb.destination}` }),
    ...(!isThere && { remedy: WAIT_FOR_REPAIR }),
  };
}

async function wireguardEnds(desired: DesiredWay, { link, address }: Found): Promise<CarrierWay> {
  if (link === undefined) return { lines: [] };
  let peers: readonly PeerState[];
  try {
    peers = (await readDevice(link.name, link.kind === "tun" ? "userspace" : "kernel")).peers;
  } catch (error) {
    const text = `the peers of ${link.name} cannot be read: ${error instanceof Error ? error.message : String(error)}`;
    return { lines: [{ station: "wireguard", text, verdict: "unknown" }] };
  }
  const peer = peerFor(peers, address);
  const isRight = peer !== undefined && peer.publicKey === desired.wireguardPeer?.publicKey;
  const line: TraceLine = {
    station: "wireguard",
    text: peer === undefined ? `no peer of ${link.name} has ${address} in its allowed-ips` : peerText(peer),
    verdict: peerVerdict(peer, isRight),
    ...(!isRight && desired.wireguardPeer !== undefined && { desired: desiredPeerText(desired.wireguardPeer) }),
  };
  return { lines: [line], ...(peer?.endpoint !== undefined && { outside: peer.endpoint.address }) };
}

/** Without an endpoint nothing can be sent to the right peer either. */
function peerVerdict(peer: PeerState | undefined, isRight: boolean): TraceLine["verdict"] {
  if (peer === undefined) return "bad";
  if (!isRight) return "differs";
  return peer.endpoint === undefined ? "bad" : "ok";
}

function peerText(peer: PeerState): string {
  const endpoint = peer.endpoint === undefined ? "(none)" : endpointText(peer.endpoint);
  return `peer ${peer.publicKey} endpoint ${endpoint} allowed-ips ${peer.allowedIps.join(",")}, ${handshakeText(peer)}`;
}

function desiredPeerText({ publicKey, endpoint, allowedIps }: NonNullable<DesiredWay["wireguardPeer"]>): string {
  return `peer ${publicKey} endpoint ${endpoint ?? "(learned)"} allowed-ips ${allowedIps.join(",")}`;
}

/** That with the longest prefix around it, as WireGuard chooses. */
function peerFor(peers: readonly PeerState[], address: Address): PeerState | undefined {
  let [found, length]: [PeerState | undefined, number] = [undefined, -1];
  for (const peer of peers) {
    for (const prefix of peer.allowedIps) {
      if (!containsAddress(prefix, address) || prefixLength(prefix) <= length) continue;
      [found, length] = [peer, prefixLength(prefix)];
    }
  }
  return found;
}

function handshakeText({ lastHandshakeMs, receivedBytes, sentBytes }: PeerState): string {
  const age =
    lastHandshakeMs === undefined ? undefined : Math.max(0, Math.round((Date.now() - lastHandshakeMs) / 1_000));
  const bytes = `${sentBytes} bytes out, ${receivedBytes} in`;
  return age === undefined ? `no handshake yet, ${bytes}` : `handshake ${age} s ago, ${bytes}`;
}

function deviceLines(
  desired: DesiredWay,
  device: string,
  link: LinkMessage | undefined,
  routeMtuBytes: number | undefined,
): TraceLine[] {
  if (link === undefined) {
    return [{ station: "device", text: `${device} is missing`, verdict: "bad", remedy: "systemctl restart flanneld" }];
  }
  const { vxlan, ipip } = link;
  const details = [
    link.isUp ? "up" : "down",
    ...(vxlan === undefined ? [] : [`VNI ${vxlan.vni}, UDP port ${vxlan.port}, local ${vxlan.local ?? "any"}`]),
    ...(ipip === undefined ? [] : [`local ${ipip.local ?? "any"}`]),
    ...countersText(device),
  ];
  const carries = Math.min(link.mtuBytes, routeMtuBytes ?? link.mtuBytes);
  const wanted = desired.mtuBytes;
  const isSmaller = wanted !== undefined && carries < wanted;
  return [
    { station: "device", text: `${device} ${details.join(", ")}`, verdict: link.isUp ? "ok" : "bad" },
    {
      station: "mtu",
      text: `${carries} bytes${routeMtuBytes === undefined ? "" : ` by the route, ${link.mtuBytes} by the device`}`,
      verdict: isSmaller ? "differs" : "ok",
      ...(isSmaller && { desired: `${wanted} bytes` }),
    },
  ];
}

function countersText(device: string): string[] {
  const counters = deviceCounters(device);
  if (counters === undefined) return [];
  const { tx_packets: out = 0, rx_packets: received = 0, ...others } = counters;
  const troubles = Object.entries(others).filter(([, value]) => value > 0);
  return [
    `${out} packets out, ${received} in`,
    ...(troubles.length === 0 ? [] : [troubles.map(([name, value]) => `${name} ${value}`).join(", ")]),
  ];
}
