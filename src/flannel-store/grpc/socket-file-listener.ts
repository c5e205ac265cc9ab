// Listens on a Unix socket that only its owner may open, and again when it was removed. The connections of before go on.
import { chmodSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { FlannelError } from "../../errors.ts";
import {
  inodeOf,
  isAnswering,
  listenPrivately,
  removeOldSocket,
  requireSocketOrNothing,
} from "../../sys/socket-file.ts";

export interface SocketFileOptions {
  readonly path: string;
  readonly onConnection: (socket: Socket) => void;
  /** The socket was removed and cannot be put back, which is tried again; or accepting failed. */
  readonly onFailure: (error: unknown) => void;
}

export class SocketFileListener implements AsyncDisposable {
  readonly #options: SocketFileOptions;
  #server: Server;
  #inode: number | undefined;
  /** `renewing`: it looks whether its file is there, and puts it back. `closed` is the last one. */
  #state: "listening" | "renewing" | "closed" = "listening";
  /** Told once, until it is put back. */
  #isFailureTold = false;

  private constructor(options: SocketFileOptions, server: Server) {
    this.#options = options;
    this.#server = server;
    this.#inode = inodeOf(options.path);
  }

  /** What a process that was killed left behind is replaced. Throws `FILE_FAILED`, also when another process listens there. */
  static async open(options: SocketFileOptions): Promise<SocketFileListener> {
    return new SocketFileListener(options, await listen(options));
  }

  /** To be called now and then: without its file nobody can connect any more. */
  look(): void {
    if (this.#state !== "listening") return;
    this.#state = "renewing";
    this.#renew()
      .catch((error: unknown) => {
        if (!this.#isFailureTold) this.#options.onFailure(error);
        this.#isFailureTold = true;
      })
      .finally(() => {
        if (this.#state === "renewing") this.#state = "listening";
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = "closed";
    const server = this.#server;
    // Closing removes the path, whoever's it is now.
    if (this.#isAnothers()) {
      server.unref();
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    server.close(() => resolve());
    await promise;
  }

  /** What cannot be looked at is not for us to remove. */
  #isAnothers(): boolean {
    try {
      return ![undefined, this.#inode].includes(inodeOf(this.#options.path));
    } catch {
      return true;
    }
  }

  async #renew(): Promise<void> {
    const { path } = this.#options;
    if (inodeOf(path) === this.#inode) return;
    requireSocketOrNothing(path);
    // First: Node removes the path of a socket that it closes. Its connections stay.
    this.#server.close();
    this.#server = await listen(this.#options);
    this.#inode = inodeOf(path);
    this.#isFailureTold = false;
    if (this.#state === "closed") await this[Symbol.asyncDispose]();
  }
}

async function listen({ path, onConnection, onFailure }: SocketFileOptions): Promise<Server> {
  if (await isAnswering(path)) {
    throw new FlannelError("FILE_FAILED", `another process listens on ${path}`);
  }
  const server = createServer(onConnection);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  try {
    removeOldSocket(path);
    listenPrivately(server, path, resolve);
    await promise;
    chmodSync(path, 0o600);
  } catch (cause) {
    server.close();
    throw new FlannelError("FILE_FAILED", `cannot listen on ${path}`, { cause });
  }
  server.off("error", reject);
  server.on("error", onFailure);
  return server;
}
