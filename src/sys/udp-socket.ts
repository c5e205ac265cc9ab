// UDP and raw IP sockets for the data plane. Errors are FlannelErrors by errno.
import type { Address } from "../ip/address.ts";
import { fromErrno } from "./errno.ts";
import type { Fd } from "./fd.ts";
import { connect, getsockname, getsockopt, settled } from "./libc.ts";
import { SOL_UDP, UDP_GRO, UDP_SEGMENT } from "./message-header.ts";
import { bindSocket, openSocket, SOCK_DGRAM, SOCK_RAW, setBufferBytes, trySetOption } from "./socket.ts";
import { AF_INET, AF_INET6, socketAddress } from "./socket-address.ts";

const IPPROTO_IP = 0;
const IPPROTO_IPV6 = 41;
const IPPROTO_RAW = 255;
const IP_MTU = 14;
const IPV6_MTU = 24;
const IPV6_V6ONLY = 26;

/** Non-blocking, bound. Throws `KERNEL_REJECTED` and the like; EADDRINUSE when the port is taken. */
export function openUdpSocket(address: Address, port: number, receiveBytes: number, sendBytes = receiveBytes): Fd {
  const purpose = `UDP socket ${address.includes(":") ? `[${address}]` : address}:${port}`;
  const fd = openSocket(purpose, address.includes(":") ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
  try {
    if (address.includes(":")) trySetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    setBufferBytes(fd, "receive", receiveBytes);
    setBufferBytes(fd, "send", sendBytes);
    bindSocket(purpose, fd, socketAddress(address, port));
  } catch (error) {
    fd[Symbol.dispose]();
    throw error;
  }
  return fd;
}

/** Sends whole IP packets, header included, of the family. */
export function openRawSocket(family: 4 | 6): Fd {
  return openSocket(`raw IPv${family} socket`, family === 4 ? AF_INET : AF_INET6, SOCK_RAW, IPPROTO_RAW);
}

/** Whether the kernel cuts large datagrams (UDP_SEGMENT, since 4.18). */
export function hasUdpSegmentation(fd: Fd): boolean {
  return trySetOption(fd, SOL_UDP, UDP_SEGMENT, 0);
}

/** Whether the kernel is to join received datagrams of one size (UDP_GRO, since 5.0). False when it does not know how. */
export function tryJoinReceived(fd: Fd, joins: boolean): boolean {
  return trySetOption(fd, SOL_UDP, UDP_GRO, joins ? 1 : 0);
}

/** Whether `fd`, which may be anything, is a socket bound to this address and port. */
export function isBoundTo(fd: Fd, address: Address, port: number): boolean {
  const wanted = socketAddress(address, port);
  const bound = new Uint8Array(28);
  const length = Uint32Array.of(bound.length);
  return getsockname(fd.number, bound, length) === 0 && Buffer.compare(bound.subarray(0, length[0]), wanted) === 0;
}

/** What the kernel knows of the largest IP packet on the way to `address` (a sockaddr), in bytes. */
export function pathMtuTo(address: Uint8Array): number {
  const isV6 = address.length > 16;
  using fd = openSocket("path MTU socket", isV6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
  const open = (): number => connect(fd.number, address, address.length);
  const connected = settled(open(), [], open);
  if (connected < 0) throw fromErrno("path MTU: connect", -connected);
  const value = new Int32Array(1);
  const length = Uint32Array.of(4);
  const [level, option] = isV6 ? [IPPROTO_IPV6, IPV6_MTU] : [IPPROTO_IP, IP_MTU];
  const read = (): number => getsockopt(fd.number, level, option, value, length);
  const result = settled(read(), [], read);
  if (result < 0) throw fromErrno("path MTU: read", -result);
  return value[0] ?? 0;
}
