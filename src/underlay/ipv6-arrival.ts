// Waits for the IPv6 that a host lacked when its external interface was chosen: an address by router advertisement comes
// seconds after the start, or whenever an operator adds it.
import { FlannelError } from "../errors.ts";
import { RtnetlinkMonitor } from "../netlink/rtnetlink/monitor.ts";
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
  readonly #monitor: RtnetlinkMonitor;
  #timer: NodeJS.Timeout | undefined;
  #look: Promise<void> = Promise.resolve();
  #isOver = false;

  private constructor(options: Ipv6ArrivalOptions) {
    this.#options = options;
    this.#monitor = RtnetlinkMonitor.open({
      groups: ["address", "route"],
      onMessages: (messages) => {
        const isNews = messages.some(({ kind, message }) =>
          kind === "address" ? message.address.includes(":") : kind === "route" && message.destination === "::/0",
        );
        if (isNews) this.#lookSoon();
      },
      onOverflow: () => this.#lookSoon(),
    });
  }

  /** Also looks at once: it may have come between the choice and now. */
  static open(options: Ipv6ArrivalOptions): Ipv6Arrival {
    const arrival = new Ipv6Arrival(options);
    arrival.#lookSoon();
    return arrival;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    clearTimeout(this.#timer);
    await this.#monitor[Symbol.asyncDispose]();
    await this.#look;
  }

  #lookSoon(): void {
    if (this.#isOver) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#look = this.#look.then(() => this.#lookNow());
    }, LOOK_AFTER_MS);
  }

  async #lookNow(): Promise<void> {
    if (this.#isOver) return;
    const { selection, rtnetlink, logger, onArrival } = this.#options;
    try {
      await selectExternalInterface(selection, rtnetlink);
    } catch (error) {
      if (error instanceof FlannelError && error.code === "INTERFACE_NOT_FOUND") return;
      logger.warn("interface.look-failed", "cannot look for an IPv6 address of this host; retrying", { error });
      this.#lookSoon();
      return;
    }
    if (this.#isOver) return;
    this.#isOver = true;
    onArrival();
  }
}
