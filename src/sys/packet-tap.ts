// Sees the packets of certain sizes, or from certain addresses, that pass any device of this network namespace, in both directions, and leaves nothing behind
// when its process ends. Linux: packet(7). What a device sends is seen when the driver gets it, after rules and queues; what it
// receives before any rule. Input is hostile.
import type { Address } from "../ip/address.ts";
import { errnos, fromErrno } from "./errno.ts";
import type { Fd } from "./fd.ts";
import { addressOf, getsockopt, recvfrom, setsockopt, settled } from "./libc.ts";
import { MSG_DONTWAIT, MSG_TRUNC } from "./message-header.ts";
import { FILTER_INSTRUCTION_BYTES, sizeFilter, sizeOrQuestionFilter, sourceFilter } from "./packet-filter.ts";
import { bindSocket, openSocket, SOCK_DGRAM, SOL_SOCKET, setBufferBytes } from "./socket.ts";

export interface TappedPacket {
  readonly deviceIndex: number;
  /** Else it came in. */
  readonly isOutgoing: boolean;
  /** From the IP header on, at most `SNAP_BYTES`. */
  readonly bytes: Uint8Array;
  /** Of the whole packet. */
  readonly packetBytes: number;
}

const AF_PACKET = 17;
const ETH_P_ALL = 0x0003;
const PACKET_OUTGOING = 4;
const SO_ATTACH_FILTER = 26;
const SOL_PACKET = 263;
/** struct tpacket_stats: packets, drops; reading sets both to 0. */
const PACKET_STATISTICS = 6;
const MAX_SIZES = 32;
const SNAP_BYTES = 512;
/** The headers of IP and TCP. */
const HEAD_BYTES = 96;
const RECEIVE_BUFFER_BYTES = 1024 * 1024;
const ADDRESS_BYTES = 20;

export class PacketTap implements Disposable {
  readonly #fd: Fd;
  readonly #buffer = new Uint8Array(SNAP_BYTES);
  readonly #address = new Uint8Array(ADDRESS_BYTES);
  readonly #addressView = new DataView(this.#address.buffer);

  private constructor(fd: Fd) {
    this.#fd = fd;
  }

  /** `sizes`: of whole IP packets, at most 32 of them. Throws `KERNEL_DENIED` without CAP_NET_RAW. */
  static open(sizes: readonly number[]): PacketTap {
    return PacketTap.#open(sizeFilter([...new Set(sizes)].slice(0, MAX_SIZES), SNAP_BYTES));
  }

  /** As `open`; also IPv6's questions for neighbours, whose size many other packets have. */
  static withQuestions(sizes: readonly number[]): PacketTap {
    return PacketTap.#open(sizeOrQuestionFilter([...new Set(sizes)].slice(0, MAX_SIZES), SNAP_BYTES));
  }

  /** Packets from an address of this prefix. Throws as `open`. */
  static from(address: Address, prefixLength: number): PacketTap {
    return PacketTap.#open(sourceFilter(address, prefixLength, HEAD_BYTES));
  }

  static #open(filter: Uint8Array): PacketTap {
    // Of no protocol it receives nothing before the filter is there.
    const fd = openSocket("packet socket", AF_PACKET, SOCK_DGRAM, 0);
    try {
      attachFilter(fd, filter);
      setBufferBytes(fd, "receive", RECEIVE_BUFFER_BYTES);
      bindSocket("packet socket", fd, allDevices());
      return new PacketTap(fd);
    } catch (error) {
      fd[Symbol.dispose]();
      throw error;
    }
  }

  /** At most `most`, in the order in which they passed. */
  receive(most: number): TappedPacket[] {
    const packets: TappedPacket[] = [];
    while (packets.length < most) {
      const call = (): number =>
        recvfrom(
          this.#fd.number,
          this.#buffer,
          SNAP_BYTES,
          MSG_DONTWAIT | MSG_TRUNC,
          this.#address,
          Uint32Array.of(ADDRESS_BYTES),
        );
      const length = settled(call(), [errnos.EAGAIN, errnos.EINTR], call);
      if (length === -errnos.EINTR) continue;
      if (length < 0) break;
      packets.push({
        deviceIndex: this.#addressView.getInt32(4, true),
        isOutgoing: this.#addressView.getUint8(10) === PACKET_OUTGOING,
        bytes: this.#buffer.slice(0, Math.min(length, SNAP_BYTES)),
        packetBytes: length,
      });
    }
    return packets;
  }

  /** How many packets it had no room for since the last call. */
  missed(): number {
    const counts = new Int32Array(2);
    const length = Uint32Array.of(8);
    const call = (): number => getsockopt(this.#fd.number, SOL_PACKET, PACKET_STATISTICS, counts, length);
    const result = settled(call(), [], call);
    if (result < 0) throw fromErrno("read the statistics of the packet socket", -result);
    return counts[1] ?? 0;
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

/** struct sock_fprog {count, pointer}. Without the filter the socket would see all the traffic of the host. */
function attachFilter(fd: Fd, filter: Uint8Array): void {
  // Large buffers are not moved.
  const memory = new ArrayBuffer(4_096);
  new Uint8Array(memory).set(filter);
  const program = new Int32Array(4);
  const view = new DataView(program.buffer);
  view.setUint16(0, filter.length / FILTER_INSTRUCTION_BYTES, true);
  view.setBigUint64(8, BigInt(addressOf(memory)), true);
  const call = (): number => setsockopt(fd.number, SOL_SOCKET, SO_ATTACH_FILTER, program, 16);
  const result = settled(call(), [], call);
  if (result < 0) throw fromErrno("attach a filter to the packet socket", -result);
}

/** struct sockaddr_ll: family, protocol in network order, device 0. */
function allDevices(): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, ETH_P_ALL, false);
  return bytes;
}
