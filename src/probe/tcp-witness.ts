// The second witness: whether a TCP segment gets an answer where ICMP gets none. Nobody listens on the port; that the host
// refuses the connection is the answer. One segment is sent.
import { connect } from "node:net";
import type { Address } from "../ip/address.ts";

/** discard, RFC 863: closed nearly everywhere, and harmless where it is open. */
const PORT = 9;

/** True: it answered. Never rejects. */
export function askByTcp(target: Address, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    // A second segment would leave after a second.
    const socket = connect({ host: target, port: PORT });
    const timer = setTimeout(() => end(false), timeoutMs);
    timer.unref();
    const end = (hasAnswered: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(hasAnswered);
    };
    socket.once("connect", () => end(true));
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code === "ECONNREFUSED"));
    socket.unref();
  });
}
