// Unix sockets as files: who may open one, whether a process listens on it, and an old one taken away.
import { rmSync, statSync } from "node:fs";
import { connect, type Server } from "node:net";
import { FlannelError } from "../errors.ts";

/** sun_path of a Unix socket address, without its final NUL. */
export const MAX_SOCKET_PATH_BYTES = 107;

/** Whether a process listens on a socket that we may open. */
export function isAnswering(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(path);
  socket.once("connect", () => resolve(true));
  socket.once("error", () => resolve(false));
  return promise.finally(() => socket.destroy());
}

/** Of the socket as a file; undefined when nothing is there. Throws Node's error for what cannot be looked at. */
export function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

/** Only ever a socket: a wrong path must not cost a file. Throws `FILE_FAILED` for anything else. */
export function removeOldSocket(path: string): void {
  requireSocketOrNothing(path);
  rmSync(path, { force: true });
}

export function requireSocketOrNothing(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found !== undefined && !found.isSocket()) {
    throw new FlannelError("FILE_FAILED", `${path} exists and is not a socket`);
  }
}

/** Mode 0600 from the first moment through the umask: listen() on a path binds before it returns. */
export function listenPrivately(server: Server, path: string, onListening: () => void): void {
  const umask = process.umask(0o177);
  try {
    server.listen(path, onListening);
  } finally {
    process.umask(umask);
  }
}
