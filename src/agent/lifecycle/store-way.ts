// The way to the store: no peer's subnet may cover it, or this host would never hear of the store again.
import { describeError } from "../../errors.ts";
import { type Address, type Prefix, prefixLength } from "../../ip/address.ts";
import { containsAddress } from "../../ip/prefix.ts";
import type { ReachedAddress } from "../../underlay/occupied-prefixes.ts";
import type { AgentParts } from "./agent-parts.ts";
import type { Network } from "./network.ts";
import { isFlannelLink } from "./occupied-addresses.ts";
import type { StoreView } from "./store-view.ts";

export class StoreWay {
  readonly #parts: AgentParts;
  readonly #view: StoreView;
  #hasPassed = false;
  #explanation: string | undefined;

  constructor(parts: AgentParts, view: StoreView) {
    this.#parts = parts;
    this.#view = view;
  }

  /** What the last run knew counts until the store has answered: before that nobody may be able to resolve its name. */
  get addresses(): readonly Address[] {
    const { store, remembered } = this.#parts;
    const known = this.#view.ageMs === undefined ? (remembered?.storeAddresses ?? []) : [];
    return [...new Set([...store.addresses(), ...known])];
  }

  reached(): readonly ReachedAddress[] {
    return this.addresses.map((address) => ({ address, what: `the store's address ${address}` }));
  }

  /**
   * To be called after each pass over the kernel, at least. The first one may have taken away a route that led the store into the
   * tunnel: connections begun before it keep a source address to which no answer finds its way.
   */
  onPass(network: Network | undefined): void {
    if (this.#hasPassed || network?.isOwnProgrammed !== true) return;
    this.#hasPassed = true;
    if (this.#view.ageMs === undefined && network.facts.occupied.length > 0) this.#parts.store.reconnect?.();
  }

  /**
   * What stands between us and our first lease, with the reason that is on this host: without a configuration nobody knows
   * which devices are ours, so that a route left by an earlier agent stays.
   */
  onWaiting(reason: string | undefined): void {
    this.#view.setObstacle(reason);
    if (reason !== undefined && this.#view.ageMs === undefined) this.#explain(reason).catch(() => undefined);
  }

  async #explain(reason: string): Promise<void> {
    const { logger } = this.#parts;
    try {
      const explanation = await this.#detour();
      if (explanation === undefined || this.#view.ageMs !== undefined) return;
      this.#view.setObstacle(`${reason}; ${explanation}`);
      if (explanation !== this.#explanation) logger.error("store.behind-tunnel", explanation);
      this.#explanation = explanation;
    } catch (error) {
      logger.verbose(1, "store.way-unknown", "cannot look up the way to the store", { error: describeError(error) });
    }
  }

  async #detour(): Promise<string | undefined> {
    const { rtnetlink, backends } = this.#parts;
    const links = await rtnetlink.dump("link");
    const devices = new Map(
      links.filter((link) => isFlannelLink(link, backends)).map(({ index, name }) => [index, name]),
    );
    if (devices.size === 0) return undefined;
    for (const address of this.addresses) {
      const index = await rtnetlink.routeLookup(address).then(
        ({ outIndex }) => outIndex,
        () => undefined,
      );
      const device = devices.get(index ?? 0);
      if (index === undefined || device === undefined) continue;
      const routes = await rtnetlink.dump("route", { index });
      const route = mostSpecific(
        routes.map(({ destination }) => destination).filter((destination) => containsAddress(destination, address)),
      );
      const family = address.includes(":") ? "-6 " : "";
      return (
        `this host sends packets for the store's address ${address} into flannel's device ${device}` +
        (route === undefined ? "" : `: ip ${family}route del ${route} dev ${device}`)
      );
    }
    return undefined;
  }
}

function mostSpecific(prefixes: readonly Prefix[]): Prefix | undefined {
  return prefixes.toSorted((a, b) => prefixLength(b) - prefixLength(a))[0];
}
