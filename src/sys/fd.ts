// Owns one file descriptor and closes it exactly once, after whatever watches it.
import { FlannelError } from "../errors.ts";
import { close, type PollHandle, pollReadable } from "./libc.ts";

export class Fd implements Disposable {
  #fd: number | undefined;
  #watch: ReadWatch | undefined;

  /** Takes ownership of `fd`. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The descriptor; throws once closed, so that a number the kernel has given to another file is never used. */
  get number(): number {
    if (this.#fd === undefined) throw new FlannelError("INTERNAL", "the file descriptor is already closed");
    return this.#fd;
  }

  get isClosed(): boolean {
    return this.#fd === undefined;
  }

  /**
   * Calls `drain` whenever there is something to read, until the descriptor is closed. `drain` reads a bounded amount and
   * returns true when there may be more: it is then called again after other work of the event loop. Keeps the process
   * alive. One watcher for each descriptor.
   */
  watchReadable(drain: () => boolean): void {
    if (this.#watch !== undefined) throw new FlannelError("INTERNAL", "the file descriptor is already watched");
    this.#watch = new ReadWatch(this.number, drain);
  }

  [Symbol.dispose](): void {
    const fd = this.#fd;
    if (fd === undefined) return;
    this.#fd = undefined;
    // epoll must forget the descriptor before its number can be given to another file.
    this.#watch?.[Symbol.dispose]();
    close(fd);
  }
}

class ReadWatch implements Disposable {
  readonly #handle: PollHandle;
  readonly #drain: () => boolean;
  #isClosed = false;

  constructor(fd: number, drain: () => boolean) {
    this.#drain = drain;
    this.#handle = pollReadable(fd, this.#onReadable);
  }

  // libuv stops the handle by itself when the socket has a pending error (ENOBUFS), so it is armed again each time.
  readonly #onReadable = (): void => {
    if (this.#isClosed) return;
    this.#handle.stop();
    setImmediate(this.#run);
  };

  readonly #run = (): void => {
    if (this.#isClosed) return;
    const hasMore = this.#drain();
    if (this.#isClosed) return;
    if (hasMore) setImmediate(this.#run);
    else this.#handle.start(this.#onReadable);
  };

  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#handle.close();
  }
}
