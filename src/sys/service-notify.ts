// Tells the service manager about our state (sd_notify(3)): one datagram to the socket named by NOTIFY_SOCKET.
import { FlannelError } from "../errors.ts";
import { AF_UNIX, openSocket, SOCK_DGRAM, sendDatagram } from "./socket.ts";

/** sizeof(sun_path) in sys/un.h. */
const MAX_PATH_BYTES = 108;

/**
 * Sends `state` (`READY=1`, `STATUS=…`, several separated by newlines). Returns false, having done nothing, when no
 * service manager asked for it. Throws a FlannelError when the datagram cannot be delivered.
 */
export function notifyService(state: string, socketName = process.env["NOTIFY_SOCKET"] ?? ""): boolean {
  if (socketName === "") return false;
  using fd = openSocket("service notification socket", AF_UNIX, SOCK_DGRAM, 0);
  sendDatagram(`notify service manager at ${socketName}`, fd, new TextEncoder().encode(state), unixAddress(socketName));
  return true;
}

/** sockaddr_un. `@name` is Linux's abstract name space: a leading NUL, no trailing one. */
function unixAddress(name: string): Uint8Array {
  const path = new TextEncoder().encode(name);
  if ((!name.startsWith("/") && !name.startsWith("@")) || path.length > MAX_PATH_BYTES) {
    throw new FlannelError(
      "kernel.unsupported",
      `NOTIFY_SOCKET=${name}: neither an absolute path nor an abstract name`,
    );
  }
  if (name.startsWith("@")) path[0] = 0;
  const address = new Uint8Array(2 + path.length);
  address[0] = AF_UNIX;
  address.set(path, 2);
  return address;
}
