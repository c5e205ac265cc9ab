// The few libc calls the product needs, through koffi. The only file that imports the FFI library.
// Calls return the C result and never throw; who wants to know why one failed passes its result to `settled` in the very
// next statement.
import koffi from "koffi";
import { type Settle, settleBy } from "./call-result.ts";

// null = symbols of the running program: works with glibc and musl alike, whatever the libc's file is called.
const program = koffi.load(null);

/** `int socket(int domain, int type, int protocol)` */
export const socket: (domain: number, type: number, protocol: number) => number =
  program.func("int socket(int, int, int)");

/** `int bind(int fd, const void *address, socklen_t length)` */
export const bind: (fd: number, address: Uint8Array, length: number) => number = program.func(
  "int bind(int, const void *, uint32_t)",
);

/** `ssize_t send(int fd, const void *buffer, size_t length, int flags)` */
export const send: (fd: number, buffer: Uint8Array, length: number, flags: number) => number = program.func(
  "intptr_t send(int, const void *, size_t, int)",
);

/** `ssize_t sendto(int fd, const void *buffer, size_t length, int flags, const void *address, socklen_t length)` */
export const sendto: (
  fd: number,
  buffer: Uint8Array,
  length: number,
  flags: number,
  address: Uint8Array,
  addressLength: number,
) => number = program.func("intptr_t sendto(int, const void *, size_t, int, const void *, uint32_t)");

/** `ssize_t recv(int fd, void *buffer, size_t length, int flags)` */
export const recv: (fd: number, buffer: Uint8Array, length: number, flags: number) => number = program.func(
  "intptr_t recv(int, void *, size_t, int)",
);

/** `ssize_t recvfrom(int fd, void *buffer, size_t length, int flags, void *address, socklen_t *addressLength)` */
export const recvfrom: (
  fd: number,
  buffer: Uint8Array,
  length: number,
  flags: number,
  address: Uint8Array,
  addressLength: Uint32Array,
) => number = program.func("intptr_t recvfrom(int, void *, size_t, int, void *, void *)");

/** `int setsockopt(int fd, int level, int option, const void *value, socklen_t length)` */
export const setsockopt: (fd: number, level: number, option: number, value: Int32Array, length: number) => number =
  program.func("int setsockopt(int, int, int, const void *, uint32_t)");

// Calls on memory that never moves (see `addressOf`), for the data plane: plain numbers, nothing allocated per call.

/** `ssize_t read(int fd, void *buffer, size_t length)` */
export const readInto: (fd: number, address: number, length: number) => number = program.func(
  "int read(int, uintptr_t, uintptr_t)",
);

/** `ssize_t writev(int fd, const struct iovec *parts, int count)` */
export const writev: (fd: number, parts: number, count: number) => number = program.func(
  "int writev(int, uintptr_t, int)",
);

/** `int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)` */
export const sendmmsg: (fd: number, messages: number, count: number, flags: number) => number = program.func(
  "int sendmmsg(int, uintptr_t, uint32_t, int)",
);

/** `int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)` */
export const recvmmsg: (fd: number, messages: number, count: number, flags: number, timeout: number) => number =
  program.func("int recvmmsg(int, uintptr_t, uint32_t, int, uintptr_t)");

/** `int poll(struct pollfd *descriptors, nfds_t count, int timeoutMs)` */
export const poll: (descriptors: number, count: number, timeoutMs: number) => number = program.func(
  "int poll(uintptr_t, uintptr_t, int)",
);

/** `int sched_yield(void)` */
export const schedYield: () => number = program.func("int sched_yield()");

/** `int usleep(useconds_t duration)`: in microseconds; the kernel's timer slack (50 µs) comes on top. */
export const usleep: (durationUs: number) => number = program.func("int usleep(uint32_t)");

/** `int clock_gettime(clockid_t clock, struct timespec *time)` */
export const clockGettime: (clock: number, time: number) => number = program.func("int clock_gettime(int, uintptr_t)");

/** `ssize_t sendto(...)` from memory that never moves; the address may be any buffer. */
export const sendFrom: (
  fd: number,
  buffer: number,
  length: number,
  flags: number,
  address: Uint8Array,
  addressLength: number,
) => number = program.func("int sendto(int, uintptr_t, uintptr_t, int, const void *, uint32_t)");

/** struct iovec and struct msghdr of `sendmsg`, for calls that are rare. */
const iovec = koffi.struct({ base: "void *", length: "size_t" });
const messageHeader = koffi.struct({
  name: "void *",
  nameLength: "uint32_t",
  parts: koffi.pointer(iovec),
  partCount: "size_t",
  control: "void *",
  controlLength: "size_t",
  flags: "int",
});

export interface Message {
  readonly name: Uint8Array;
  readonly nameLength: number;
  readonly parts: { readonly base: Uint8Array; readonly length: number };
  readonly partCount: 1;
  readonly control: Uint8Array;
  readonly controlLength: number;
  readonly flags: 0;
}

/** `ssize_t sendmsg(int fd, const struct msghdr *message, int flags)` */
export const sendmsg: (fd: number, message: Message, flags: number) => number = program.func("sendmsg", "intptr_t", [
  "int",
  koffi.pointer(messageHeader),
  "int",
]);

/** `int fcntl(int fd, int command, int argument)` */
export const fcntl: (fd: number, command: number, argument: number) => number =
  program.func("int fcntl(int, int, int)");

/** `int eventfd(unsigned initial, int flags)` */
export const eventfd: (initial: number, flags: number) => number = program.func("int eventfd(uint32_t, int)");

/** `int ioctl(int fd, unsigned long request, void *argument)` */
export const ioctlPointer: (fd: number, request: number, argument: Uint8Array) => number = program.func(
  "int ioctl(int, uintptr_t, void *)",
);

/** `int ioctl(int fd, unsigned long request, unsigned long argument)` */
export const ioctlNumber: (fd: number, request: number, argument: number) => number = program.func(
  "int ioctl(int, uintptr_t, uintptr_t)",
);

/** `int connect(int fd, const void *address, socklen_t length)` */
export const connect: (fd: number, address: Uint8Array, length: number) => number = program.func(
  "int connect(int, const void *, uint32_t)",
);

/** `int getsockopt(int fd, int level, int option, void *value, socklen_t *length)` */
export const getsockopt: (fd: number, level: number, option: number, value: Int32Array, length: Uint32Array) => number =
  program.func("int getsockopt(int, int, int, void *, void *)");

/** `int getsockname(int fd, void *address, socklen_t *length)` */
export const getsockname: (fd: number, address: Uint8Array, length: Uint32Array) => number = program.func(
  "int getsockname(int, void *, void *)",
);

/** Where `buffer` is in this process. Only WebAssembly memories and large buffers stay there; small ones move. */
export function addressOf(buffer: ArrayBufferLike): number {
  return Number(koffi.address(buffer));
}

export const MADV_DONTNEED = 4;

/** `int madvise(void *address, size_t length, int advice)` */
export const madvise: (address: number, length: number, advice: number) => number = program.func(
  "int madvise(uintptr_t, uintptr_t, int)",
);

/** `int malloc_trim(size_t pad)`: glibc's only. */
export const trimMalloc: ((pad: number) => number) | undefined = optional("int malloc_trim(uintptr_t)");

/** `int close(int fd)` */
export const close: (fd: number) => number = program.func("int close(int)");

/** `int flock(int fd, int operation)` */
export const flock: (fd: number, operation: number) => number = program.func("int flock(int, int)");

/** `void _exit(int status)` */
export const exitImmediately: (status: number) => void = program.func("void _exit(int)");

/** `char *strerror(int errno)` */
export const strerror: (errno: number) => string = program.func("const char *strerror(int)");

/** Undefined where the program has no such symbol. */
function optional(declaration: string) {
  try {
    return program.func(declaration);
  } catch {
    return undefined;
  }
}

/** See `Settle`. koffi gives errno with its asynchronous calls only: of the others it has to be asked for afterwards. */
export const settled: Settle = settleBy(() => koffi.errno());

/** A libuv poll handle. After `close` no other method may be called. */
export interface PollHandle {
  start(callback: () => void): void;
  stop(): void;
  close(): void;
}

/**
 * Watches `fd` for input on Node's event loop. `callback` runs outside of Node's callback scope: a promise settled in it
 * would wait for an unrelated event, and an exception in it would be lost, so it must do no more than `setImmediate`.
 */
export function pollReadable(fd: number, callback: () => void): PollHandle {
  return koffi.node.poll(fd, callback);
}
