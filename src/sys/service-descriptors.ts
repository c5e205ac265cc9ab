// Descriptors that outlive the process: the service manager keeps a copy of each while the service is started again, and
// hands them to the next process (sd_notify(3): FDSTORE; sd_listen_fds(3)). What arrives meanwhile waits in them. Where
// nobody keeps them they end with the process.
import type { Fd } from "./fd.ts";
import { inheritedDescriptors } from "./inherited-descriptors.ts";
import { notifyService, sendToService } from "./service-notify.ts";

/** Who needs one has taken it by then; later, what waits in it is of no use. */
const HOLD_MS = 10_000;

/** Where descriptors come from and go to. Names are of letters, digits and hyphens. */
export interface DescriptorStore {
  /** One that was kept under this name; the caller's from now on. */
  take(name: string): Fd | undefined;
  /** A copy is for the next process, until it is forgotten. `fd` stays the caller's. Throws when the service manager does not answer. */
  keep(name: string, fd: Fd): void;
  /** Becomes the store's, for whoever takes it next in this process. */
  giveBack(name: string, fd: Fd): void;
  /** Nobody is to have it any more: what it held is free as soon as the service manager has read this. */
  forget(name: string): void;
}

export class ServiceDescriptors implements DescriptorStore, Disposable {
  readonly #held: Map<string, Fd>;
  readonly #socketName: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** Those the process was started with are the store's. */
  constructor(inherited: ReadonlyMap<string, Fd> = inheritedDescriptors(process.env), socketName?: string) {
    this.#held = new Map(inherited);
    this.#socketName = socketName;
    if (inherited.size > 0) this.#limitHolding();
  }

  take(name: string): Fd | undefined {
    const fd = this.#held.get(name);
    this.#held.delete(name);
    return fd;
  }

  keep(name: string, fd: Fd): void {
    // Errors of a socket (a peer that is down) would make systemd drop it: FDPOLL.
    sendToService(`FDSTORE=1\nFDNAME=${name}\nFDPOLL=0`, fd, this.#socketName);
  }

  giveBack(name: string, fd: Fd): void {
    this.#held.get(name)?.[Symbol.dispose]();
    this.#held.set(name, fd);
    this.#limitHolding();
  }

  forget(name: string): void {
    this.take(name)?.[Symbol.dispose]();
    notifyService(`FDSTOREREMOVE=1\nFDNAME=${name}`, this.#socketName);
  }

  /** Whoever has needed one has taken it by now. Throws when the service manager does not accept each. */
  forgetHeld(): void {
    let failure: unknown;
    for (const name of [...this.#held.keys()]) {
      try {
        this.forget(name);
      } catch (error) {
        failure = error;
      }
    }
    if (failure !== undefined) throw failure;
  }

  /** Closes what is held; the service manager's copies stay. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    for (const fd of this.#held.values()) fd[Symbol.dispose]();
    this.#held.clear();
  }

  #limitHolding(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      try {
        this.forgetHeld();
      } catch {
        // Who wants the same device or port later tells it once more.
      }
    }, HOLD_MS);
    this.#timer.unref();
  }
}
