// The few libc calls the product needs, through koffi. The only file that imports the FFI library.
// Calls return the C result and never throw; on failure read `lastErrno()` in the very next statement.
import koffi from "koffi";

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

/** `int setsockopt(int fd, int level, int option, const void *value, socklen_t length)` */
export const setsockopt: (fd: number, level: number, option: number, value: Int32Array, length: number) => number =
  program.func("int setsockopt(int, int, int, const void *, uint32_t)");

/** `int close(int fd)` */
export const close: (fd: number) => number = program.func("int close(int)");

/** `int flock(int fd, int operation)` */
export const flock: (fd: number, operation: number) => number = program.func("int flock(int, int)");

/** `char *strerror(int errno)` */
export const strerror: (errno: number) => string = program.func("const char *strerror(int)");

/** The live errno of this thread: any other call in between may have changed it. */
export function lastErrno(): number {
  return koffi.errno();
}

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
