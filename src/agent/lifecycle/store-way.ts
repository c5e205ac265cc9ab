// The way to the store: no peer's subnet may cover it, or this host would never hear of the store again.
import type { Address } from "../../ip/address.ts";
import type { SubnetStore } from "../../store/subnet-store.ts";
import type { ReachedAddress } from "../../underlay/occupied-prefixes.ts";
import type { Network } from "./network.ts";
import type { StoreView } from "./store-view.ts";

export class StoreWay {
  readonly #store: SubnetStore;
  readonly #view: StoreView;
  readonly #remembered: readonly Address[];
  #hasPassed = false;

  /** `remembered`: the addresses of the last run. */
  constructor(store: SubnetStore, view: StoreView, remembered: readonly Address[] = []) {
    this.#store = store;
    this.#view = view;
    this.#remembered = remembered;
  }

  /** What the last run knew counts until the store has answered: before that nobody may be able to resolve its name. */
  get addresses(): readonly Address[] {
    const known = this.#view.ageMs === undefined ? this.#remembered : [];
    return [...new Set([...this.#store.addresses(), ...known])];
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
    if (this.#view.ageMs === undefined && network.facts.occupied.length > 0) this.#store.reconnect?.();
  }
}
