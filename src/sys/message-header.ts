// The C structures of sendmmsg(2) and recvmmsg(2) on 64-bit Linux, for code that fills them in by hand. Pure data.

/** sizeof(struct iovec), sizeof(struct mmsghdr). */
export const IOVEC_BYTES = 16;
export const MMSGHDR_BYTES = 64;

/** Offsets of struct mmsghdr's fields: struct msghdr, then the number of bytes that were moved. */
export const mmsghdr = {
  name: 0,
  nameLength: 8,
  iovecs: 16,
  iovecCount: 24,
  control: 32,
  controlLength: 40,
  flags: 48,
  bytes: 56,
} as const;

/** linux/socket.h */
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;

/** linux/udp.h */
export const SOL_UDP = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;
