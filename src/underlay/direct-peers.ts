// For DirectRouting: which peers the kernel reaches without a gateway, asked of the kernel and kept up to date.
import { setImmediate as nextTurn } from "node:timers/promises";
import { ReconcileLoop } from "../async/reconcile-loop.ts";
import { hasCode } from "../errors.ts";
import type { Address, Prefix } from "../ip/address.ts";
import { isInside } from "../ip/prefix.ts";
import type { MonitorMessage } from "../netlink/rtnetlink/monitor.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { rtn } from "../netlink/uapi.ts";
import type { Logger } from "../telemetry/logger.ts";

export interface DirectPeersOptions {
  /** Routes into these are ours and say nothing about the way to a peer's host. */
  readonly overlayNetworks: readonly Prefix[];
  /** Stays the caller's. */
  readonly rtnetlink: Rtnetlink;
  readonly logger: Logger;
  /** A new set, when it differs from the last. Must not throw. */
  readonly onChange: (direct: ReadonlySet<Address>) => void;
  /** Between looks at all peers; default 60,000. */
  readonly auditIntervalMs?: number;
}

const DEFAULT_AUDIT_INTERVAL_MS = 60_000;
const DEBOUNCE_MS = 100;
/** About 2 ms. */
const LOOKUPS_PER_TURN = 64;

export class DirectPeers implements AsyncDisposable {
  readonly #options: DirectPeersOptions;
  readonly #following: Disposable;
  readonly #loop = new ReconcileLoop({
    pass: async () => ({ result: await this.#lookUp() }),
    debounceMs: DEBOUNCE_MS,
  });
  /** Else only peers of whom nothing is known. */
  #isAllDue = false;
  #interfaceIndex = 0;
  #peers: ReadonlySet<Address> = new Set();
  /** What the kernel said last. */
  readonly #isDirect = new Map<Address, boolean>();
  #current: ReadonlySet<Address> = new Set();

  /** Throws a FlannelError when the kernel refuses a socket. */
  constructor(options: DirectPeersOptions) {
    this.#options = options;
    this.#following = options.rtnetlink.follow({
      logger: options.logger,
      kinds: ["link", "address", "route"],
      onMessages: (messages) => {
        if (messages.some((message) => this.#concerns(message))) this.#lookSoon();
      },
      onOverflow: () => this.#lookSoon(),
    });
    this.#loop.startAudits(options.auditIntervalMs ?? DEFAULT_AUDIT_INTERVAL_MS, () => this.#lookSoon());
  }

  get current(): ReadonlySet<Address> {
    return this.#current;
  }

  /**
   * Sets whose reach is asked for, and through which interface. Resolves to the set once all of them are known; only
   * new ones are looked up.
   */
  async setPeers(publicIps: Iterable<Address>, interfaceIndex: number): Promise<ReadonlySet<Address>> {
    this.#peers = new Set(publicIps);
    if (interfaceIndex !== this.#interfaceIndex) this.#isDirect.clear();
    this.#interfaceIndex = interfaceIndex;
    for (const known of this.#isDirect.keys()) if (!this.#peers.has(known)) this.#isDirect.delete(known);
    await this.#loop.passNow();
    return this.#current;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#loop.close();
    this.#following[Symbol.dispose]();
    await this.#loop[Symbol.asyncDispose]();
  }

  #concerns(change: MonitorMessage): boolean {
    return change.kind !== "route" || !isInside(change.message.destination, this.#options.overlayNetworks);
  }

  #lookSoon(): void {
    this.#isAllDue = true;
    this.#loop.passSoon();
  }

  /** Never rejects. All peers are asked for only once the debounce is over. */
  async #lookUp(): Promise<void> {
    const asksAll = this.#isAllDue && !this.#loop.isPassPending;
    if (asksAll) this.#isAllDue = false;
    let asked = 0;
    for (const peer of this.#peers) {
      if (!asksAll && this.#isDirect.has(peer)) continue;
      // Answers come within the same turn of the event loop: without this nothing else would get one.
      if (++asked % LOOKUPS_PER_TURN === 0) await nextTurn();
      if (this.#loop.isStopped) return;
      const isDirect = await this.#reachesDirectly(peer);
      if (isDirect !== undefined) this.#isDirect.set(peer, isDirect);
    }
    const direct = new Set([...this.#peers].filter((peer) => this.#isDirect.get(peer) === true));
    if (direct.size === this.#current.size && direct.isSubsetOf(this.#current)) return;
    this.#current = direct;
    this.#options.onChange(direct);
  }

  /** On the link of the external interface; a peer that cannot be reached now keeps its way through the overlay. Undefined when the kernel does not tell. */
  async #reachesDirectly(peer: Address): Promise<boolean | undefined> {
    try {
      const route = await this.#options.rtnetlink.routeLookup(peer);
      const { gateway, type, outIndex, isMultipath } = route;
      return gateway === undefined && !isMultipath && type === rtn.unicast && outIndex === this.#interfaceIndex;
    } catch (error) {
      if (hasCode(error, "KERNEL_NOT_FOUND")) return false;
      this.#options.logger.warn("peers.lookup-failed", `cannot look up the route to ${peer}`, { error });
      return undefined;
    }
  }
}
