// Non-blocking sockets of families Node does not offer (netlink, unix datagram). Errors are FlannelErrors by errno.
import { errnos, fromErrno } from "./errno.ts";
import { Fd } from "./fd.ts";
import { bind, lastErrno, recv, send, sendmsg, sendto, setsockopt, socket } from "./libc.ts";
import { MSG_DONTWAIT, MSG_TRUNC } from "./message-header.ts";

// asm-generic/socket.h and bits/socket.h; the same on x64 and arm64.
export const AF_UNIX = 1;
export const AF_NETLINK = 16;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
const SCM_RIGHTS = 1;
/** sizeof(struct cmsghdr) on 64-bit Linux, and with one descriptor behind it. */
const CONTROL_HEADER_BYTES = 16;
const CONTROL_BYTES = 24;
const MSG_NOSIGNAL = 0x4000;

/** Non-blocking, closed on exec. `purpose` names it in errors ("rtnetlink socket"). */
export function openSocket(purpose: string, domain: number, type: number, protocol: number): Fd {
  const fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  if (fd < 0) throw fromErrno(`open ${purpose}`, lastErrno());
  return new Fd(fd);
}

export function bindSocket(purpose: string, fd: Fd, address: Uint8Array): void {
  if (bind(fd.number, address, address.length) < 0) throw fromErrno(`bind ${purpose}`, lastErrno());
}

/** False when the kernel refuses. */
export function trySetOption(fd: Fd, level: number, option: number, value: number): boolean {
  return setsockopt(fd.number, level, option, Int32Array.of(value), 4) === 0;
}

/** Sends one datagram. `address` (a sockaddr) is needed on sockets without a peer, except netlink's to the kernel. */
export function sendDatagram(purpose: string, fd: Fd, bytes: Uint8Array, address?: Uint8Array): void {
  const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  const sent =
    address === undefined
      ? send(fd.number, bytes, bytes.length, flags)
      : sendto(fd.number, bytes, bytes.length, flags, address, address.length);
  if (sent < 0) throw fromErrno(purpose, lastErrno());
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
  if (sendmsg(fd.number, message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) throw fromErrno(purpose, lastErrno());
}

/**
 * Receives one datagram into `buffer`. Returns its true length, which is larger than the buffer when the datagram was
 * cut, or undefined when there is none. Throws on errors (ENOBUFS: the socket's queue ran over and datagrams are lost).
 */
export function receiveDatagram(purpose: string, fd: Fd, buffer: Uint8Array): number | undefined {
  for (;;) {
    const length = recv(fd.number, buffer, buffer.length, MSG_DONTWAIT | MSG_TRUNC);
    if (length >= 0) return length;
    const errno = lastErrno();
    if (errno === errnos.EAGAIN) return undefined;
    if (errno !== errnos.EINTR) throw fromErrno(purpose, errno);
  }
}
