// eventfd(2): wakes a thread that sleeps in poll.
import { writeSync } from "node:fs";
import { fromErrno } from "./errno.ts";
import { Fd } from "./fd.ts";
import { eventfd, settled } from "./libc.ts";

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;
const one = new Uint8Array(BigUint64Array.of(1n).buffer);

export function openEventFd(): Fd {
  const open = (): number => eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const fd = settled(open(), [], open);
  if (fd < 0) throw fromErrno("open eventfd", -fd);
  return new Fd(fd);
}

/** Makes it readable until its 8 bytes are read. */
export function signalEventFd(fd: Fd): void {
  writeSync(fd.number, one);
}
