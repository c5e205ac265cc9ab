// Reads the kernel to choose the interface that leads to the other hosts, and follows it afterwards.
import { hasCode } from "../errors.ts";
import { tryParseAddress } from "../ip/address.ts";
import { type MonitorMessage, RtnetlinkMonitor } from "../netlink/rtnetlink/monitor.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { routeTable } from "../netlink/uapi.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { ExternalInterface } from "./external-interface.ts";
import {
  chooseInterface,
  followInterface,
  type InterfaceChoice,
  type InterfaceFacts,
  type InterfaceOptions,
} from "./interface-choice.ts";

/** See `chooseInterface` for the rules and errors. */
export async function selectExternalInterface(
  options: InterfaceOptions,
  rtnetlink: Rtnetlink,
): Promise<InterfaceChoice> {
  const links = await rtnetlink.dump("link");
  const addresses = await rtnetlink.dump("address");
  const routes = await rtnetlink.dump("route", { table: routeTable.main });
  const reach = await reachOf(options, rtnetlink);
  return chooseInterface(options, { links, addresses, routes, ...(reach === undefined ? {} : { reach }) });
}

async function reachOf(options: InterfaceOptions, rtnetlink: Rtnetlink): Promise<InterfaceFacts["reach"]> {
  const target = options.canReach === undefined ? undefined : tryParseAddress(options.canReach);
  if (target === undefined) return undefined;
  try {
    const { outIndex, preferredSource } = await rtnetlink.routeLookup(target);
    if (outIndex === undefined) return undefined;
    return { outIndex, ...(preferredSource === undefined ? {} : { preferredSource }) };
  } catch (error) {
    if (hasCode(error, "KERNEL_NOT_FOUND")) return undefined;
    throw error;
  }
}

export interface ExternalInterfaceWatchOptions {
  readonly initial: ExternalInterface;
  /** Those of the choice. */
  readonly selection: InterfaceOptions;
  /** Stays the caller's. */
  readonly rtnetlink: Rtnetlink;
  readonly logger: Logger;
  /** A fact changed: a new object. `reason` says why `isUp` is false. Must not throw. */
  readonly onChange: (external: ExternalInterface, reason: string | undefined) => void;
}

/** An address that is replaced is first deleted: gathers the two. */
const DEBOUNCE_MS = 50;
const RETRY_MS = 1_000;

/**
 * Follows address, MTU, state and re-creation of the chosen interface. It never moves to another interface: traffic
 * that leaves elsewhere than the operator saw at start is worse than a clear "not ready".
 */
export class ExternalInterfaceWatch implements AsyncDisposable {
  readonly #options: ExternalInterfaceWatchOptions;
  readonly #monitor: RtnetlinkMonitor;
  #current: ExternalInterface;
  #reason: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #look: Promise<void> = Promise.resolve();
  #isClosed = false;

  private constructor(options: ExternalInterfaceWatchOptions) {
    this.#options = options;
    this.#current = options.initial;
    this.#monitor = RtnetlinkMonitor.open({
      groups: ["link", "address"],
      onMessages: (messages) => {
        if (messages.some((message) => this.#concerns(message))) this.#lookSoon(DEBOUNCE_MS);
      },
      onOverflow: () => this.#lookSoon(DEBOUNCE_MS),
    });
  }

  /** Also reports what changed between the choice and now. */
  static open(options: ExternalInterfaceWatchOptions): Promise<ExternalInterfaceWatch> {
    const watch = new ExternalInterfaceWatch(options);
    watch.#lookSoon(0);
    return Promise.resolve(watch);
  }

  get current(): ExternalInterface {
    return this.#current;
  }

  /** Why `current.isUp` is false; undefined while all is well. */
  get reason(): string | undefined {
    return this.#reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#monitor[Symbol.asyncDispose]();
    await this.#look;
  }

  #concerns({ kind, message }: MonitorMessage): boolean {
    if (kind === "link") return message.name === this.#current.name || message.index === this.#current.index;
    return kind === "address" && message.index === this.#current.index;
  }

  #lookSoon(delayMs: number): void {
    if (this.#isClosed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#look = this.#look.then(() => this.#lookNow());
    }, delayMs);
  }

  async #lookNow(): Promise<void> {
    if (this.#isClosed) return;
    const { rtnetlink, selection, logger, onChange } = this.#options;
    try {
      const links = await rtnetlink.dump("link");
      const addresses = await rtnetlink.dump("address");
      if (this.#isClosed) return;
      const followed = followInterface(this.#current, selection, { links, addresses, routes: [] });
      if (isSame(followed.interface, this.#current) && followed.reason === this.#reason) return;
      this.#current = followed.interface;
      this.#reason = followed.reason;
      onChange(this.#current, this.#reason);
    } catch (error) {
      logger.warn("interface.look-failed", `cannot read interface ${this.#current.name}; retrying`, { error });
      this.#lookSoon(RETRY_MS);
    }
  }
}

function isSame(a: ExternalInterface, b: ExternalInterface): boolean {
  return (
    a.name === b.name &&
    a.index === b.index &&
    a.mtuBytes === b.mtuBytes &&
    a.isUp === b.isUp &&
    a.address === b.address &&
    a.ipv6Address === b.ipv6Address &&
    a.publicIp === b.publicIp &&
    a.publicIpv6 === b.publicIpv6
  );
}
