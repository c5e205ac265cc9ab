// Follows what this host uses inside the containers' network: interfaces come and go while the agent runs.
import { type PassEnd, ReconcileLoop } from "../async/reconcile-loop.ts";
import { describeError } from "../errors.ts";
import type { Prefix } from "../ip/address.ts";
import { FLANNEL_PROTOCOL, type LinkMessage } from "../netlink/rtnetlink/messages.ts";
import type { MonitorMessage } from "../netlink/rtnetlink/monitor.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { routeProtocol, routeTable } from "../netlink/uapi.ts";
import type { Logger } from "../telemetry/logger.ts";
import { type HostLayout, type OccupiedContext, type OccupiedPrefix, occupiedPrefixes } from "./occupied-prefixes.ts";

export interface OccupiedWatchOptions {
  /** Stays the caller's. */
  readonly rtnetlink: Rtnetlink;
  readonly logger: Logger;
  /** As of now; cheap. */
  readonly context: () => OccupiedContext;
  /** `current` would be another one now. Must not throw. */
  readonly onChange: () => void;
}

/** An interface that comes up changes several times in a row. */
const DEBOUNCE_MS = 50;
const RETRY_MS = 1_000;
/** Addresses of the store change without a notification of the kernel. */
const RECHECK_MS = 2_000;

export class OccupiedWatch implements AsyncDisposable {
  readonly #options: OccupiedWatchOptions;
  readonly #following: Disposable;
  #layout: HostLayout = { links: [], addresses: [], routes: [] };
  #flannelIndexes: Set<number> = new Set();
  #current: readonly OccupiedPrefix[] = [];
  #readNetworks = "";
  readonly #loop = new ReconcileLoop({ pass: () => this.#look(), debounceMs: DEBOUNCE_MS });

  private constructor(options: OccupiedWatchOptions) {
    this.#options = options;
    this.#following = options.rtnetlink.follow({
      logger: options.logger,
      kinds: ["link", "address", "route"],
      onMessages: (messages) => {
        if (messages.some((message) => this.#concerns(message))) this.#loop.passSoon();
      },
      onOverflow: () => this.#loop.passSoon(),
    });
    this.#loop.start();
    this.#loop.startAudits(RECHECK_MS, () => this.#reportChange());
  }

  /** Has looked once when it resolves. Rejects when the kernel cannot be read. */
  static async open(options: OccupiedWatchOptions): Promise<OccupiedWatch> {
    const watch = new OccupiedWatch(options);
    try {
      await watch.#read();
    } catch (error) {
      await watch[Symbol.asyncDispose]();
      throw error;
    }
    return watch;
  }

  /** As of the last look and of the context now; the same array while nothing changes. */
  get current(): readonly OccupiedPrefix[] {
    const next = occupiedPrefixes(this.#layout, this.#options.context());
    if (textOf(next) !== textOf(this.#current)) this.#current = next;
    return this.#current;
  }

  /** As `current`, after another look where the networks are others than at the last one. What cannot be read stays. */
  async upToDate(): Promise<readonly OccupiedPrefix[]> {
    if (this.#options.context().networks.join() !== this.#readNetworks) await this.#loop.passNow();
    return this.current;
  }

  /** As it would be with these as our own subnets. */
  besides(ownSubnets: readonly Prefix[]): readonly OccupiedPrefix[] {
    return occupiedPrefixes(this.#layout, { ...this.#options.context(), ownSubnets });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#loop.close();
    this.#following[Symbol.dispose]();
    await this.#loop[Symbol.asyncDispose]();
  }

  /** Ten thousand routes of our own say nothing. */
  #concerns({ kind, message }: MonitorMessage): boolean {
    if (kind === "link") return this.#isForeign(message);
    if (kind === "address") return !this.#flannelIndexes.has(message.index);
    if (kind !== "route" || message.table !== routeTable.main || message.protocol === FLANNEL_PROTOCOL) return false;
    return !this.#flannelIndexes.has(message.outIndex ?? 0);
  }

  /** Devices of flannel come and go with its networks; one that was another program's is news. */
  #isForeign(link: LinkMessage): boolean {
    const { isFlannelLink } = this.#options.context();
    const known = this.#layout.links.find(({ index }) => index === link.index);
    if (!isFlannelLink(link) || (known !== undefined && !isFlannelLink(known))) return true;
    this.#flannelIndexes.add(link.index);
    return false;
  }

  /** Never rejects. What could not be read stays as it was. */
  async #look(): Promise<PassEnd<void>> {
    if (this.#loop.isStopped) return { result: undefined };
    try {
      await this.#read();
    } catch (error) {
      if (this.#loop.isStopped) return { result: undefined };
      const message = "cannot read which networks this host is connected to; retrying";
      this.#options.logger.warn("host.networks-unknown", message, { error: describeError(error) });
      return { result: undefined, repeatInMs: RETRY_MS };
    }
    this.#reportChange();
    return { result: undefined };
  }

  #reportChange(): void {
    const before = this.#current;
    if (!this.#loop.isStopped && this.current !== before) this.#options.onChange();
  }

  async #read(): Promise<void> {
    const { rtnetlink, context } = this.#options;
    const { isFlannelLink } = context();
    const links = await rtnetlink.dump("link");
    const addresses = (await rtnetlink.dump("address")).filter(({ address }) => !isLinkLocal(address));
    const flannelIndexes = new Set(links.filter(isFlannelLink).map(({ index }) => index));
    const table = routeTable.main;
    const { networks } = context();
    const kernels = await rtnetlink.dump("route", {
      table,
      protocol: routeProtocol.kernel,
      overlapping: networks,
    });
    // Only gateways that matter are read: the table may have ten thousand routes of our own, or those of the whole Internet.
    const filter = { table, exceptProtocol: FLANNEL_PROTOCOL, gatewayIn: networks };
    const byGateway = await rtnetlink.dumpAs("route", filter, (route) => {
      const isOwn = flannelIndexes.has(route.outIndex ?? 0) || route.protocol === routeProtocol.kernel;
      return isOwn ? undefined : route;
    });
    const routes = [...kernels, ...byGateway];
    this.#layout = { links, addresses, routes };
    this.#readNetworks = networks.join();
    this.#flannelIndexes = flannelIndexes;
  }
}

/** Every interface has some, and no network of containers is there. */
function isLinkLocal(address: Prefix): boolean {
  return /^fe[89ab].:/.test(address) || address.startsWith("127.");
}

function textOf(occupied: readonly OccupiedPrefix[]): string {
  return JSON.stringify(occupied);
}
