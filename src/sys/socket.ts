// Non-blocking sockets of families Node does not offer (netlink, unix datagram). Errors are FlannelErrors by errno.
import { errnos, fromErrno } from "./errno.ts";
import { Fd } from "./fd.ts";
import { bind, recv, send, sendmsg, sendto, setsockopt, settled, socket } from "./libc.ts";
import { MSG_DONTWAIT, MSG_TRUNC } from "./message-header.ts";

// asm-generic/socket.h and bits/socket.h; the same on x64 and arm64.
export const AF_UNIX = 1;
export const AF_NETLINK = 16;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SCM_RIGHTS = 1;
/** sizeof(struct cmsghdr) on 64-bit Linux, and with one descriptor behind it. */
const CONTROL_HEADER_BYTES = 16;
const CONTROL_BYTES = 24;
const MSG_NOSIGNAL = 0x4000;
const expectedOfReceive = [errnos.EAGAIN, errnos.EINTR, errnos.ENOBUFS];

/** Non-blocking, closed on exec. `purpose` names it in errors ("rtnetlink socket"). */
export function openSocket(purpose: string, domain: number, type: number, protocol: number): Fd {
  const open = (): number => socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  const fd = settled(open(), [], open);
  if (fd < 0) throw fromErrno(`open ${purpose}`, -fd);
  return new Fd(fd);
}

export function bindSocket(purpose: string, fd: Fd, address: Uint8Array): void {
  const call = (): number => bind(fd.number, address, address.length);
  const result = settled(call(), [errnos.EADDRINUSE], call);
  if (result < 0) throw fromErrno(`bind ${purpose}`, -result);
}

/** False when the kernel refuses. */
export function trySetOption(fd: Fd, level: number, option: number, value: number): boolean {
  return setsockopt(fd.number, level, option, Int32Array.of(value), 4) === 0;
}

/** The size of the kernel's queue. Root may exceed net.core.[rw]mem_max, others get what that allows. */
export function setBufferBytes(fd: Fd, queue: "receive" | "send", bytes: number): void {
  const [forced, plain] = queue === "receive" ? [SO_RCVBUFFORCE, SO_RCVBUF] : [SO_SNDBUFFORCE, SO_SNDBUF];
  if (!trySetOption(fd, SOL_SOCKET, forced, bytes)) trySetOption(fd, SOL_SOCKET, plain, bytes);
}

/** Sends one datagram. `address` (a sockaddr) is needed on sockets without a peer, except netlink's to the kernel. */
export function sendDatagram(purpose: string, fd: Fd, bytes: Uint8Array, address?: Uint8Array): void {
  const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  const call = (): number =>
    address === undefined
      ? send(fd.number, bytes, bytes.length, flags)
      : sendto(fd.number, bytes, bytes.length, flags, address, address.length);
  const sent = settled(call(), [errnos.EAGAIN], call);
  if (sent < 0) throw fromErrno(purpose, -sent);
}

/** Sends one datagram to a unix socket, and with it a copy of `descriptor` (unix(7)). */
export function sendDescriptor(purpose: string, fd: Fd, bytes: Uint8Array, address: Uint8Array, descriptor: Fd): void {
  const control = new Uint8Array(CONTROL_BYTES);
  const view = new DataView(control.buffer);
  view.setBigUint64(0, BigInt(CONTROL_HEADER_BYTES + 4), true);
  view.setInt32(8, SOL_SOCKET, true);
  view.setInt32(12, SCM_RIGHTS, true);
  view.setInt32(CONTROL_HEADER_BYTES, descriptor.number, true);
  const message = {
    name: address,
    nameLength: address.length,
    parts: { base: bytes, length: bytes.length },
    partCount: 1,
    control,
    controlLength: CONTROL_BYTES,
    flags: 0,
  } as const;
  const call = (): number => sendmsg(fd.number, message, MSG_DONTWAIT | MSG_NOSIGNAL);
  const sent = settled(call(), [errnos.EAGAIN], call);
  if (sent < 0) throw fromErrno(purpose, -sent);
}

/**
 * Receives one datagram into `buffer`. Returns its true length, which is larger than the buffer when the datagram was
 * cut, or undefined when there is none. Throws on errors (ENOBUFS: the socket's queue ran over and datagrams are lost).
 * `mustNotMiss`: the kernel tells a loss only once, so ENOBUFS is also thrown when a failure cannot be distinguished from one.
 */
export function receiveDatagram(purpose: string, fd: Fd, buffer: Uint8Array, mustNotMiss = false): number | undefined {
  const call = (): number => recv(fd.number, buffer, buffer.length, MSG_DONTWAIT | MSG_TRUNC);
  let calls = 1;
  const again = (): number => {
    calls++;
    return call();
  };
  for (;;) {
    const length = settled(call(), expectedOfReceive, again);
    const mayHideLoss = calls > 1 && mustNotMiss && (length >= 0 || length === -errnos.EAGAIN);
    if (mayHideLoss) throw fromErrno(purpose, errnos.ENOBUFS);
    if (length >= 0) return length;
    if (length === -errnos.EAGAIN) return undefined;
    if (length !== -errnos.EINTR) throw fromErrno(purpose, -length);
  }
}
