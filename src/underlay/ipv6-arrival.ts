// Waits for the IPv6 that a host lacked when its external interface was chosen: an address by router advertisement comes
// seconds after the start, or whenever an operator adds it.
import { type PassEnd, ReconcileLoop } from "../async/reconcile-loop.ts";
import { FlannelError } from "../errors.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { InterfaceOptions } from "./interface-facts.ts";
import { selectExternalInterface } from "./select-interface.ts";

export interface Ipv6ArrivalOptions {
  /** With both families. */
  readonly selection: InterfaceOptions;
  /** Stays the caller's. */
  readonly rtnetlink: Rtnetlink;
  readonly logger: Logger;
  /** An interface with both families can be chosen. Called once. Must not throw. */
  readonly onArrival: () => void;
}

/** Bounds how often the routes of a large overlay are read while it is being programmed. */
const LOOK_AFTER_MS = 1_000;

export class Ipv6Arrival implements AsyncDisposable {
  readonly #options: Ipv6ArrivalOptions;
  readonly #following: Disposable;
  readonly #loop = new ReconcileLoop({ pass: () => this.#look(), debounceMs: LOOK_AFTER_MS });

  private constructor(options: Ipv6ArrivalOptions) {
    this.#options = options;
    this.#following = options.rtnetlink.follow({
      logger: options.logger,
      kinds: ["address", "route"],
      onMessages: (messages) => {
        const isNews = messages.some(({ kind, message }) =>
          kind === "address" ? message.address.includes(":") : kind === "route" && message.destination === "::/0",
        );
        if (isNews) this.#loop.passSoon();
      },
      onOverflow: () => this.#loop.passSoon(),
    });
  }

  /** Also looks at once: it may have come between the choice and now. */
  static open(options: Ipv6ArrivalOptions): Ipv6Arrival {
    const arrival = new Ipv6Arrival(options);
    arrival.#loop.start();
    arrival.#loop.passSoon();
    return arrival;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#loop.close();
    this.#following[Symbol.dispose]();
    await this.#loop[Symbol.asyncDispose]();
  }

  /** Never rejects. */
  async #look(): Promise<PassEnd<void>> {
    const { selection, rtnetlink, logger, onArrival } = this.#options;
    if (this.#loop.isStopped) return { result: undefined };
    try {
      await selectExternalInterface(selection, rtnetlink);
    } catch (error) {
      if (error instanceof FlannelError && error.code === "INTERFACE_NOT_FOUND") return { result: undefined };
      logger.warn("interface.look-failed", "cannot look for an IPv6 address of this host; retrying", { error });
      return { result: undefined, repeatInMs: LOOK_AFTER_MS };
    }
    if (!this.#loop.isStopped) {
      this.#loop.close();
      onArrival();
    }
    return { result: undefined };
  }
}
