// `HOST:PORT` of a server, or its `unix://` socket. Pure.
import { FlannelError } from "../../errors.ts";
import { MAX_SOCKET_PATH_BYTES } from "../../sys/socket-file.ts";

export interface ListenAddress {
  /** Without brackets. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

/** A Unix socket, which only its owner and root may open. */
export interface ListenSocket {
  readonly path: string;
}

export type ListenTarget = ListenAddress | ListenSocket;

const SOCKET_SCHEME = "unix://";

/** As `parseListenAddress`, and `unix:///run/flannel-store.sock`. Throws `USAGE`. */
export function parseListenTarget(text: string): ListenTarget {
  if (!text.startsWith(SOCKET_SCHEME)) return parseListenAddress(text);
  const path = text.slice(SOCKET_SCHEME.length);
  if (!path.startsWith("/") || /\p{Cc}/u.test(path) || Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw new FlannelError(
      "USAGE",
      `--listen unix:// must name a socket by its whole path, of at most ${MAX_SOCKET_PATH_BYTES} bytes`,
    );
  }
  return { path };
}

/** `127.0.0.1:2379`, `[::1]:2379`, `localhost:2379`. Throws `USAGE`. */
export function parseListenAddress(text: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new FlannelError("USAGE", `--listen must be HOST:PORT, like 127.0.0.1:2379 or [::1]:2379, not "${text}"`);
  }
  return { host: match[1] ?? match[2] ?? "", port };
}

/** Only programs on this host can reach it. */
export function isLoopback({ host }: ListenAddress): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}
