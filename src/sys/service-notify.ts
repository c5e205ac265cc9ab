// Tells the service manager about our state (sd_notify(3)): one datagram to the socket named by NOTIFY_SOCKET.
import { FlannelError } from "../errors.ts";
import type { Fd } from "./fd.ts";
import { AF_UNIX, openSocket, SOCK_DGRAM, sendDatagram, sendDescriptor } from "./socket.ts";

/** sizeof(sun_path) in sys/un.h. */
const MAX_PATH_BYTES = 108;

const ourSocket = () => process.env["NOTIFY_SOCKET"] ?? "";

/**
 * Sends `state` (`READY=1`, `STATUS=…`, several separated by newlines). Returns false, having done nothing, when no
 * service manager asked for it. Throws a FlannelError when the datagram cannot be delivered.
 */
export function notifyService(state: string, socketName = ourSocket()): boolean {
  return notify(state, socketName, undefined);
}

/** The same, and with it a copy of `descriptor`. */
export function sendToService(state: string, descriptor: Fd, socketName = ourSocket()): boolean {
  return notify(state, socketName, descriptor);
}

function notify(state: string, socketName: string, descriptor: Fd | undefined): boolean {
  if (socketName === "") return false;
  using fd = openSocket("service notification socket", AF_UNIX, SOCK_DGRAM, 0);
  const purpose = `notify service manager at ${socketName}`;
  const bytes = new TextEncoder().encode(state);
  const address = unixAddress(socketName);
  if (descriptor === undefined) sendDatagram(purpose, fd, bytes, address);
  else sendDescriptor(purpose, fd, bytes, address, descriptor);
  return true;
}

/** sockaddr_un. `@name` is Linux's abstract name space: a leading NUL, no trailing one. */
function unixAddress(name: string): Uint8Array {
  const path = new TextEncoder().encode(name);
  if ((!name.startsWith("/") && !name.startsWith("@")) || path.length > MAX_PATH_BYTES) {
    throw new FlannelError(
      "KERNEL_UNSUPPORTED",
      `NOTIFY_SOCKET=${name}: neither an absolute path nor an abstract name`,
    );
  }
  if (name.startsWith("@")) path[0] = 0;
  const address = new Uint8Array(2 + path.length);
  address[0] = AF_UNIX;
  address.set(path, 2);
  return address;
}
