// The witness that needs nobody to answer us: whether TCP of the peer's containers goes on. Its packets are looked at as they come in;
// one that acknowledges more than the one before it was answered by this host's containers, so packets pass both ways.
import { setTimeout as sleep } from "node:timers/promises";
import { type Prefix, prefixAddress, prefixLength } from "../ip/address.ts";
import { PacketTap } from "../sys/packet-tap.ts";

const LOOK_MS = 50;
/** A peer that answers TCP does so by then, as a rule: nobody has to listen to it. */
const ASKED_BEFORE_MS = 150;
/** Looked at once in a while each; more peers in doubt at one moment are a fault of ours. */
const MOST_AT_ONCE = 8;
const MOST_FLOWS = 64;
const PACKETS_A_LOOK = 64;

let listening = 0;

/**
 * True: it goes on; false: nothing was heard until `timeoutMs` from now. Undefined where nobody listened: without CAP_NET_RAW, while
 * many others are listened to, or when `signal` says that it is not needed any more. Never rejects.
 */
export async function hearTraffic(
  subnet: Prefix,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<boolean | undefined> {
  const endMs = performance.now() + timeoutMs;
  await sleep(ASKED_BEFORE_MS, undefined, { ref: false });
  if (signal.aborted || listening >= MOST_AT_ONCE) return undefined;
  listening++;
  try {
    using tap = PacketTap.from(prefixAddress(subnet), prefixLength(subnet));
    const ear = new TcpEar();
    while (performance.now() < endMs) {
      await sleep(LOOK_MS, undefined, { ref: false });
      if (signal.aborted) return undefined;
      if (tap.receive(PACKETS_A_LOOK).some(({ isOutgoing, bytes }) => !isOutgoing && ear.hear(bytes))) return true;
    }
    return false;
  } catch {
    return undefined;
  } finally {
    listening--;
  }
}

/** struct tcphdr: ports, sequence, acknowledgement, and flags. */
const TCP = 6;
const ACK = 0x10;
const SYN = 0x02;

/** Listens to TCP from one side. Packets are of unknown senders. */
export class TcpEar {
  /** The last acknowledgement of each flow. */
  readonly #acknowledged = new Map<string, number>();

  /** True when this packet says that something of ours arrived since the flow's packet before. */
  hear(bytes: Uint8Array): boolean {
    const segment = readSegment(bytes);
    if (segment === undefined || (segment.flags & ACK) === 0) return false;
    // The answer to a connection that a container of ours begins.
    if ((segment.flags & SYN) !== 0) return true;
    const { flow, acknowledged } = segment;
    const before = this.#acknowledged.get(flow);
    if (before === undefined && this.#acknowledged.size >= MOST_FLOWS) return false;
    // Sequence numbers wrap (RFC 9293, 3.4); an old packet may come late.
    const isMore = before === undefined || ((acknowledged - before) | 0) > 0;
    if (isMore) this.#acknowledged.set(flow, acknowledged);
    return isMore && before !== undefined;
  }
}

interface Segment {
  /** Addresses and ports. */
  readonly flow: string;
  readonly flags: number;
  readonly acknowledged: number;
}

/** Undefined for what is no whole TCP header behind one of IPv4 or IPv6 without extensions. */
function readSegment(bytes: Uint8Array): Segment | undefined {
  const version = (bytes[0] ?? 0) >> 4;
  const isIpv4 = version === 4 && bytes[9] === TCP;
  if (!isIpv4 && !(version === 6 && bytes[6] === TCP)) return undefined;
  const [header, addressesAt, addressBytes] = isIpv4 ? [((bytes[0] ?? 0) & 0xf) * 4, 12, 8] : [40, 8, 32];
  if (bytes.length < header + 14) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const addresses = bytes.subarray(addressesAt, addressesAt + addressBytes).join(".");
  return {
    flow: `${addresses} ${view.getUint32(header)}`,
    flags: bytes[header + 13] ?? 0,
    acknowledged: view.getUint32(header + 8),
  };
}
