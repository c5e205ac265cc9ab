// Waits for the IPv6 that a host lacked when its external interface was chosen: an address by router advertisement comes
// seconds after the start, or whenever an operator adds it.
import { LookSoon } from "../async/look-soon.ts";
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
  readonly #looks = new LookSoon(() => this.#lookNow());
  #isOver = false;

  private constructor(options: Ipv6ArrivalOptions) {
    this.#options = options;
    this.#monitor = RtnetlinkMonitor.open({
      groups: ["address", "route"],
      onMessages: (messages) => {
        const isNews = messages.some(({ kind, message }) =>
          kind === "address" ? message.address.includes(":") : kind === "route" && message.destination === "::/0",
        );
        if (isNews) this.#looks.request(LOOK_AFTER_MS);
      },
      onOverflow: () => this.#looks.request(LOOK_AFTER_MS),
    });
  }

  /** Also looks at once: it may have come between the choice and now. */
  static open(options: Ipv6ArrivalOptions): Ipv6Arrival {
    const arrival = new Ipv6Arrival(options);
    arrival.#looks.request(LOOK_AFTER_MS);
    return arrival;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#monitor[Symbol.asyncDispose]();
    await this.#looks[Symbol.asyncDispose]();
  }

  async #lookNow(): Promise<void> {
    if (this.#isOver) return;
    const { selection, rtnetlink, logger, onArrival } = this.#options;
    try {
      await selectExternalInterface(selection, rtnetlink);
    } catch (error) {
      if (error instanceof FlannelError && error.code === "INTERFACE_NOT_FOUND") return;
      logger.warn("interface.look-failed", "cannot look for an IPv6 address of this host; retrying", { error });
      this.#looks.request(LOOK_AFTER_MS);
      return;
    }
    if (this.#isOver) return;
    this.#isOver = true;
    onArrival();
  }
}
