// Follows the interface that leads to the other hosts: its address, name, MTU and state.
import { type PassEnd, ReconcileLoop } from "../async/reconcile-loop.ts";
import { prefixAddress } from "../ip/address.ts";
import type { AddressMessage, LinkMessage } from "../netlink/rtnetlink/messages.ts";
import type { MonitorMessage } from "../netlink/rtnetlink/monitor.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { ExternalInterface } from "./external-interface.ts";
import { type FollowedInterface, followInterface } from "./follow-interface.ts";
import { entryOf, hasOnlyHostPrefix } from "./interface-addresses.ts";
import type { InterfaceOptions } from "./interface-facts.ts";
import { mainRoutes } from "./select-interface.ts";

export interface ExternalInterfaceWatchOptions {
  readonly initial: ExternalInterface;
  /** Those of the choice. */
  readonly selection: InterfaceOptions;
  /** Stays the caller's. */
  readonly rtnetlink: Rtnetlink;
  readonly logger: Logger;
  /** A fact changed: a new object. Must not throw. */
  readonly onChange: (followed: FollowedInterface) => void;
}

/** An address that is replaced is first deleted: gathers the two. */
const DEBOUNCE_MS = 50;
const RETRY_MS = 1_000;

/**
 * Follows address, MTU, state, name and re-creation of the chosen interface. It moves to another interface only with the
 * address: traffic that leaves elsewhere than the operator saw at start is worse than a clear "not ready".
 */
export class ExternalInterfaceWatch implements AsyncDisposable {
  readonly #options: ExternalInterfaceWatchOptions;
  readonly #following: Disposable;
  #followed: FollowedInterface;
  /** The overlay's own devices, whose thousands of routes say nothing about the way to other hosts. */
  #overlayIndexes: ReadonlySet<number> = new Set();
  readonly #loop = new ReconcileLoop({ pass: () => this.#look(), debounceMs: DEBOUNCE_MS });

  private constructor(options: ExternalInterfaceWatchOptions) {
    this.#options = options;
    this.#followed = { interface: options.initial };
    this.#following = options.rtnetlink.follow({
      logger: options.logger,
      kinds: options.initial.followsRoutes === true ? ["link", "address", "route"] : ["link", "address"],
      onMessages: (messages) => {
        if (messages.some((message) => this.#concerns(message))) this.#loop.passSoon();
      },
      onOverflow: () => this.#loop.passSoon(),
    });
  }

  /** Also reports what changed between the choice and now. */
  static open(options: ExternalInterfaceWatchOptions): Promise<ExternalInterfaceWatch> {
    const watch = new ExternalInterfaceWatch(options);
    watch.#loop.queuePass();
    return Promise.resolve(watch);
  }

  get current(): ExternalInterface {
    return this.#followed.interface;
  }

  /** Why `current.isUp` is false; undefined while all is well. */
  get reason(): string | undefined {
    return this.#followed.reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#loop.close();
    this.#following[Symbol.dispose]();
    await this.#loop[Symbol.asyncDispose]();
  }

  #concerns({ kind, message }: MonitorMessage): boolean {
    const { name, index, addressDevice, address, ipv6Address, followsRoutes } = this.current;
    if (kind === "route") return message.outIndex === undefined || !this.#overlayIndexes.has(message.outIndex);
    if (kind === "link") {
      return followsRoutes === true || message.index === index || [name, addressDevice].includes(message.name);
    }
    if (kind !== "address") return false;
    const changed = prefixAddress(message.address);
    return message.index === index || changed === address || changed === ipv6Address;
  }

  /** Never rejects. */
  async #look(): Promise<PassEnd<void>> {
    if (this.#loop.isStopped) return { result: undefined };
    const { rtnetlink, selection, logger, onChange } = this.#options;
    try {
      const links = await rtnetlink.dump("link");
      const addresses = await rtnetlink.dump("address");
      const overlay = links.filter(({ name }) => selection.overlayDevices?.includes(name) === true);
      this.#overlayIndexes = new Set(overlay.map(({ index }) => index));
      const routes = this.#needsRoutes(links, addresses) ? await mainRoutes(rtnetlink) : [];
      if (this.#loop.isStopped) return { result: undefined };
      const followed = followInterface(this.current, selection, { links, addresses, routes });
      if (!isSame(followed, this.#followed)) {
        this.#followed = followed;
        onChange(followed);
      }
      return { result: undefined };
    } catch (error) {
      logger.warn("interface.look-failed", `cannot read interface ${this.current.name}; retrying`, { error });
      return { result: undefined, repeatInMs: RETRY_MS };
    }
  }

  /** Ten thousand routes are not read where the address stands on the interface itself, with its network. */
  #needsRoutes(links: readonly LinkMessage[], addresses: readonly AddressMessage[]): boolean {
    const { index, addressDevice, address, ipv6Address } = this.current;
    const main = this.#options.selection.families.has(4) ? address : ipv6Address;
    const link = links.find((found) => found.index === index);
    if (addressDevice !== undefined || main === undefined || link === undefined) return true;
    const facts = { links, addresses, routes: [] };
    return entryOf(main, facts, link) === undefined || hasOnlyHostPrefix(main, link, facts);
  }
}

const compared = [
  ...(["name", "index", "mtuBytes", "isUp", "addressDevice"] as const),
  ...(["address", "ipv6Address", "publicIp", "publicIpv6"] as const),
];

function isSame(a: FollowedInterface, b: FollowedInterface): boolean {
  return (
    a.reason === b.reason &&
    a.ipv6Reason === b.ipv6Reason &&
    compared.every((field) => a.interface[field] === b.interface[field])
  );
}
