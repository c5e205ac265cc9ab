// A real data plane in a box: a device, sockets, and hosts of the overlay that are plain sockets on loopback. Raw packets
// go in on either side, and what comes out on either side is there to read.
import { boxNamespace as box } from "../../lab/namespace.ts";
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";
import type { Fd } from "../../src/sys/fd.ts";
import { type DescriptorStore, ServiceDescriptors } from "../../src/sys/service-descriptors.ts";
import { openSocket, receiveDatagram, SOCK_RAW, sendDatagram } from "../../src/sys/socket.ts";
import { socketAddress } from "../../src/sys/socket-address.ts";
import { openRawSocket, openUdpSocket } from "../../src/sys/udp-socket.ts";
import { Tunnel } from "../../src/tunnel/tunnel.ts";
import type { TunnelState } from "../../src/tunnel/tunnel-state.ts";
import { recordingLogger } from "./host-fixture.ts";
import { makePacket } from "./packets.ts";

const PORT = 8285;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const BUFFER_BYTES = 4 << 20;

/** Inside: ours is an address of this host, theirs is behind the peer. */
export const inner = {
  ours: [10, 5, 1, 9],
  theirs: [10, 5, 2, 9],
  nobodys: [10, 5, 77, 9],
  ours6: bytesOf6(1, 9),
  theirs6: bytesOf6(2, 9),
  nobodys6: bytesOf6(0x77, 9),
} as const;
const content = { protocol: 17, payload: new Uint8Array(32) } as const;
/** One small packet of each family, from a container here to one there, and the other way. */
export const out = {
  4: makePacket({ source: inner.ours, destination: inner.theirs, ...content }),
  6: makePacket({ source: inner.ours6, destination: inner.theirs6, ...content }),
};
export const back = {
  4: makePacket({ source: inner.theirs, destination: inner.ours, ...content }),
  6: makePacket({ source: inner.theirs6, destination: inner.ours6, ...content }),
};
/** Outside. */
const here = { ipv4: parseAddress("127.0.0.1"), ipv6: parseAddress("fd00:99::1") };
const there = { ipv4: parseAddress("127.0.0.2"), ipv6: parseAddress("fd00:99::2") };
const nobody = { ipv4: parseAddress("127.0.0.9"), ipv6: parseAddress("fd00:99::9") };
const loopbackAddresses = ["10.5.1.9/32", "fd00:5:1::9/128", "fd00:99::1/128", "fd00:99::2/128", "fd00:99::9/128"];

/** Who sends to our UDP port. */
export type Sender = "peer" | "peer, from another port" | "stranger";

export class TunnelFixture implements AsyncDisposable {
  readonly #resources = new AsyncDisposableStack();
  readonly log = recordingLogger();
  readonly tunnel: Tunnel;
  readonly #raw = { ipv4: this.#own(openRawSocket(4)), ipv6: this.#own(openRawSocket(6)) };
  readonly #icmp = {
    ipv4: this.#own(openSocket("ICMP", AF_INET, SOCK_RAW, IPPROTO_ICMP)),
    ipv6: this.#own(openSocket("ICMPv6", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)),
  };
  readonly #peer = {
    ipv4: this.#own(openUdpSocket(there.ipv4, PORT, BUFFER_BYTES)),
    ipv6: this.#own(openUdpSocket(there.ipv6, PORT, BUFFER_BYTES)),
  };
  readonly #otherPort = {
    ipv4: this.#own(openUdpSocket(there.ipv4, 40_000, BUFFER_BYTES)),
    ipv6: this.#own(openUdpSocket(there.ipv6, 40_000, BUFFER_BYTES)),
  };
  readonly #stranger = {
    ipv4: this.#own(openUdpSocket(nobody.ipv4, PORT, BUFFER_BYTES)),
    ipv6: this.#own(openUdpSocket(nobody.ipv6, PORT, BUFFER_BYTES)),
  };
  readonly #buffer = new Uint8Array(65_536);

  private constructor(descriptorStore: DescriptorStore & Disposable) {
    this.#resources.use(descriptorStore);
    const { logger } = this.log;
    this.tunnel = this.#resources.use(new Tunnel({ logger, descriptorStore, onChange: () => undefined }));
  }

  static async open(
    options: Partial<TunnelState> = {},
    descriptorStore: DescriptorStore & Disposable = new ServiceDescriptors(),
  ): Promise<TunnelFixture> {
    await box.ipBatch(
      loopbackAddresses.map((address) => `addr add ${address} dev lo${address.includes(":") ? " nodad" : ""}`),
    );
    const fixture = new TunnelFixture(descriptorStore);
    await fixture.setState(options);
    await box.ipBatch([
      "addr add 10.5.1.0/32 dev flannel0",
      "addr add fd00:5:1::/128 dev flannel0 nodad",
      "link set dev flannel0 mtu 1472 up",
      "route add 10.5.0.0/16 dev flannel0",
      "route add fd00:5::/32 dev flannel0",
    ]);
    return fixture;
  }

  setState(options: Partial<TunnelState> = {}): Promise<void> {
    return this.tunnel.setState({
      device: "flannel0",
      port: PORT,
      localIpv4: here.ipv4,
      localIpv6: here.ipv6,
      own: { subnet: parsePrefix("10.5.1.0/24"), ipv6Subnet: parsePrefix("fd00:5:1::/48") },
      peers: [
        {
          key: "peer",
          subnet: parsePrefix("10.5.2.0/24"),
          publicIp: there.ipv4,
          ipv6Subnet: parsePrefix("fd00:5:2::/48"),
          publicIpv6: there.ipv6,
          ipv6Port: PORT,
        },
      ],
      checkSource: true,
      offload: true,
      ...options,
    });
  }

  /** Into the device, as the kernel routes it. */
  sendInside(packet: Uint8Array): void {
    const isV6 = (packet[0] ?? 0) >> 4 === 6;
    const destination = isV6 ? parseAddress("fd00:5:2::9") : parseAddress("10.5.2.9");
    const address = socketAddress(destination, 0);
    // The kernel routes by this address: the packet's own.
    address.set(isV6 ? packet.subarray(24, 40) : packet.subarray(16, 20), isV6 ? 8 : 4);
    sendDatagram("send a raw packet", isV6 ? this.#raw.ipv6 : this.#raw.ipv4, packet, address);
  }

  /** One datagram to our UDP port, of that family outside. */
  sendOutside(packet: Uint8Array, family: 4 | 6 = 4, from: Sender = "peer"): void {
    const sockets = { peer: this.#peer, "peer, from another port": this.#otherPort, stranger: this.#stranger }[from];
    const key = family === 4 ? "ipv4" : "ipv6";
    sendDatagram("send a datagram", sockets[key], packet, socketAddress(here[key], PORT));
  }

  /** The next ICMP message that reached this host, with its IP header; of IPv6 without. Neighbour discovery is left out. */
  icmpReceived(family: 4 | 6): Uint8Array | undefined {
    for (;;) {
      const message = this.#receive(family === 4 ? this.#icmp.ipv4 : this.#icmp.ipv6);
      const type = message?.[0] ?? 0;
      if (message === undefined || family === 4 || type < 130 || type > 137) return message;
    }
  }

  /** The next packet that reached the peer. */
  atPeer(family: 4 | 6): Uint8Array | undefined {
    return this.#receive(family === 4 ? this.#peer.ipv4 : this.#peer.ipv6);
  }

  /** Datagrams looked at: passed on, or dropped for a reason that the kernel's own packets give none for. */
  get datagramsSeen(): number {
    const { carried, dropped } = this.tunnel.status();
    const { malformed, ttlExpired, unknownSender, foreignSource, foreignDestination, truncated } = dropped;
    const refused = malformed + ttlExpired + unknownSender + foreignSource + foreignDestination + truncated;
    return carried.receivedPackets + refused;
  }

  /** Packets from both sides: sent, received and dropped; what the device refused was received before. */
  get seen(): number {
    const { carried, dropped } = this.tunnel.status();
    const drops = Object.values(dropped).reduce((sum, count) => sum + count, 0);
    return carried.sentPackets + carried.receivedPackets + drops - dropped.deviceRefused;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
    await box.tryRun(["ip", "link", "del", "dev", "flannel0"]);
    await box.ipBatch(loopbackAddresses.map((address) => `addr del ${address} dev lo`));
  }

  #own(fd: Fd): Fd {
    return this.#resources.use(fd);
  }

  #receive(socket: Fd): Uint8Array | undefined {
    const bytes = receiveDatagram("receive", socket, this.#buffer);
    return bytes === undefined ? undefined : this.#buffer.slice(0, bytes);
  }
}

/** fd00:5:`host`::`last` */
function bytesOf6(host: number, last: number): readonly number[] {
  return [0xfd, 0, 0, 5, 0, host, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
}
