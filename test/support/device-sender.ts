// Puts any bytes into a device's queue, past all that the kernel checks when it routes: a packet socket (AF_PACKET).
import { boxNamespace } from "../../lab/namespace.ts";
import type { Fd } from "../../src/sys/fd.ts";
import { sendto } from "../../src/sys/libc.ts";
import { openSocket, SOCK_RAW, trySetOption } from "../../src/sys/socket.ts";

const AF_PACKET = 17;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const VNET_HEADER_BYTES = 10;
const MSG_DONTWAIT = 0x40;

/** linux/virtio_net.h */
export interface Offload {
  readonly flags: number;
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
}

const noOffload: Offload = { flags: 0, gsoType: 0, gsoSize: 0, checksumStart: 0, checksumOffset: 0 };

export interface DeviceSender extends Disposable {
  /** False when the kernel would not take it. */
  send(packet: Uint8Array, offload?: Offload): boolean;
}

export async function openDeviceSender(device: string): Promise<DeviceSender> {
  const [link] = await boxNamespace.ipJson("link", "show", "dev", device);
  const index = Number(link?.["ifindex"]);
  const fd: Fd = openSocket("packet socket", AF_PACKET, SOCK_RAW, 0);
  if (!trySetOption(fd, SOL_PACKET, PACKET_VNET_HDR, 1)) throw new Error("the kernel refuses PACKET_VNET_HDR");
  const frame = new Uint8Array(VNET_HEADER_BYTES + 65_535);
  const header = new DataView(frame.buffer);
  const address = new Uint8Array(20); // struct sockaddr_ll
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setInt32(4, index, true);
  return {
    send: (packet, { flags, gsoType, gsoSize, checksumStart, checksumOffset } = noOffload) => {
      view.setUint16(2, (packet[0] ?? 0) >> 4 === 6 ? ETH_P_IPV6 : ETH_P_IP);
      frame.set([flags, gsoType], 0);
      header.setUint16(2, gsoType === 0 ? 0 : checksumStart + 20, true);
      header.setUint16(4, gsoSize, true);
      header.setUint16(6, checksumStart, true);
      header.setUint16(8, checksumOffset, true);
      frame.set(packet, VNET_HEADER_BYTES);
      const bytes = VNET_HEADER_BYTES + packet.length;
      return sendto(fd.number, frame, bytes, MSG_DONTWAIT, address, address.length) >= 0;
    },
    [Symbol.dispose]: () => fd[Symbol.dispose](),
  };
}
