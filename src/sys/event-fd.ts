// eventfd(2): wakes a thread that sleeps in poll.
import { writeSync } from "node:fs";
import { fromErrno } from "./errno.ts";
import { Fd } from "./fd.ts";
import { eventfd, lastErrno } from "./libc.ts";

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;
const one = new Uint8Array(BigUint64Array.of(1n).buffer);

export function openEventFd(): Fd {
  const fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw fromErrno("open eventfd", lastErrno());
  return new Fd(fd);
}

/** Makes it readable until its 8 bytes are read. */
export function signalEventFd(fd: Fd): void {
  writeSync(fd.number, one);
}
