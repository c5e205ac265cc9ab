// The port through which the agent sees several networks in one store: which there are, and a store for each.
import type { StoreCertificates, SubnetStore } from "./subnet-store.ts";

/** The networks that have a configuration, whatever is in it. */
export type NetworkNews =
  | {
      readonly type: "names";
      /** As the store has them: anybody with access to it may have written them. */
      readonly names: ReadonlySet<string>;
      readonly place: StorePlace;
      /** The store is another one, or an older copy of itself: what is missing in it was not deleted. */
      readonly isOtherStore: boolean;
    }
  /** The store answered. */
  | { readonly type: "contact" }
  /** When the watch broke, and for each other reason while it is tried again. */
  | { readonly type: "disconnected"; readonly reason: string; readonly isRefusal?: boolean };

/** Which store it was, and when in its history; both as text, for a file. */
export interface StorePlace {
  /** Empty where the store tells no id. */
  readonly id: string;
  /** Decimal. */
  readonly revision: string;
}

export interface NetworkDirectory extends AsyncDisposable {
  /** As SubnetStore's. */
  readonly description: string;
  readonly warnings: readonly string[];
  readonly certificates: StoreCertificates;
  /** Over the connection of the directory, which outlives it. */
  open(name: string): SubnetStore;
  /** First all names, then all again with each change. Survives outages, ends only by `signal`. */
  watch(signal: AbortSignal): AsyncIterable<NetworkNews>;
}
