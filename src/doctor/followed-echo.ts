// Echoes whose way through this host is watched device by device: where one is seen, and between which two devices those that are
// not answered get lost. Says so whatever it is that drops them. Pure; what is watched was written by others.
import { type Address, addressToBytes, type Family, familyOf } from "../ip/address.ts";

/** Where an echo of the test has to pass, in this order; the answers come after the requests. */
export interface EchoStation {
  readonly place: "port" | "bridge" | "tunnel" | "outside";
  /** Missing: whichever it is. */
  readonly device?: string;
  readonly packet: "request" | "reply";
  readonly direction: "in" | "out";
  /** Different packets of the test. */
  readonly seen: number;
}

export interface FollowedEcho {
  readonly sender: "host" | "container";
  /** For people: `the container of web (pid 12), 10.5.3.2`. */
  readonly container?: string;
  readonly target: Address;
  /** The peer's host, where packets go to outside of the tunnel. */
  readonly outside?: Address;
  /** Questions for a next hop (ARP, or neighbour solicitations of IPv6) that left this host meanwhile. */
  readonly linkQuestions: number;
  readonly sent: number;
  readonly answered: number;
  readonly stations: readonly EchoStation[];
  /** Counters of this host that grew meanwhile and tell of trouble. */
  readonly grown: readonly string[];
}

export interface LostEcho {
  readonly echo: FollowedEcho;
  /** The last place where it was seen; missing: this host sent it, and no place saw it. */
  readonly before?: EchoStation;
  /** The first place where it was not. */
  readonly after: EchoStation;
}

/** Where all of them got lost on this host; undefined where they did not, or where nobody can say. */
export function lossOf(echo: FollowedEcho): LostEcho | undefined {
  const { sent, answered, stations } = echo;
  if (sent === 0 || answered > 0) return undefined;
  const at = stations.findIndex(({ seen }) => seen === 0);
  const [before, after] = [stations[at - 1], stations[at]];
  if (after === undefined) return undefined;
  // Why nothing came out of a container, or why this host asks in vain for its address, nobody can say.
  if (before === undefined) return after.place === "tunnel" ? { echo, after } : undefined;
  // What comes next after a request is seen there is for the other host, or for the container, to send.
  return before.packet === "request" && after.packet === "reply" ? undefined : { echo, before, after };
}

export interface EchoSight {
  readonly packet: "request" | "reply";
  /** Inside of another packet. */
  readonly isInside: boolean;
  readonly sequence: number;
}

const shapes = {
  4: {
    ...{ source: 12, destination: 16, protocol: 9, icmp: 1, length: 2, headerBytes: 20, uncounted: 0 },
    types: { request: 8, reply: 0 },
  },
  6: {
    ...{ source: 8, destination: 24, protocol: 6, icmp: 58, length: 4, headerBytes: 40, uncounted: 40 },
    types: { request: 128, reply: 129 },
  },
} as const;

/** RFC 826, of Ethernet and IPv4. */
export const ARP_BYTES = 28;
const ARP_START = [0, 1, 8, 0, 6, 4, 0, 1] as const;
/** RFC 4861, 4.3: with the sender's link-layer address. */
const SOLICITATION_BYTES = 72;
const [ICMP_6, SOLICITATION] = [58, 135];

/** A question for a neighbour on the link. `packetBytes`: of the whole packet. */
export function isLinkQuestion(bytes: Uint8Array, packetBytes: number): boolean {
  if (packetBytes === ARP_BYTES) return ARP_START.every((byte, at) => bytes[at] === byte);
  const { headerBytes, protocol } = shapes[6];
  const isIpv6 = (bytes[0] ?? 0) >> 4 === 6;
  return (
    packetBytes === SOLICITATION_BYTES && isIpv6 && bytes[protocol] === ICMP_6 && bytes[headerBytes] === SOLICITATION
  );
}

/** Reads an echo to or from `target`, of this size with its IP header, wherever in the packet it begins. */
export function sightOf(bytes: Uint8Array, target: Address, packetBytes: number): EchoSight | undefined {
  const family = familyOf(target);
  const shape = shapes[family];
  const wanted = addressToBytes(target);
  const packet = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = packet.indexOf(wanted); at >= 0; at = packet.indexOf(wanted, at + 1)) {
    const sight =
      echoAt(packet, at - shape.destination, "request", family, packetBytes) ??
      echoAt(packet, at - shape.source, "reply", family, packetBytes);
    if (sight !== undefined) return sight;
  }
  return undefined;
}

/** An echo whose IP header begins at `start`. */
function echoAt(
  packet: Buffer,
  start: number,
  kind: EchoSight["packet"],
  family: Family,
  packetBytes: number,
): EchoSight | undefined {
  const shape = shapes[family];
  const icmp = start + shape.headerBytes;
  if (start < 0 || icmp + 8 > packet.length || (packet[start] ?? 0) >> 4 !== family) return undefined;
  if (packet[start + shape.protocol] !== shape.icmp || packet[icmp] !== shape.types[kind]) return undefined;
  if (packet.readUInt16BE(start + shape.length) + shape.uncounted !== packetBytes) return undefined;
  return { packet: kind, isInside: start > 0, sequence: packet.readUInt16BE(icmp + 6) };
}
