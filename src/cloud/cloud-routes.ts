// The port to the route tables of a cloud provider: what the reconciler of a cloud backend needs to know and do there.
import type { Prefix } from "../ip/address.ts";

/** Who this host is at the provider, and where its route belongs. */
export interface CloudFacts {
  /** For people: `i-0123 in eu-west-1`. */
  readonly instance: string;
  /** What a route to this host has as its next hop, as `CloudRoute.target` has it. */
  readonly target: string;
  /** The route tables that have to lead to this host; never empty. */
  readonly tables: readonly string[];
  /** Why packets of containers do not pass whatever the routes say, with the remedy; undefined when nothing is in the way. */
  readonly obstacle?: string;
}

export interface CloudRoute {
  readonly table: string;
  readonly destination: Prefix;
  /** The next hop in the provider's words; undefined for what is no host. */
  readonly target?: string;
  /** `blackhole`: the next hop is gone or stopped, the provider drops what goes there. `pending`: not in force yet. */
  readonly state: "active" | "pending" | "blackhole";
  /** What the provider calls it, for `remove`; its destination where routes have no names. */
  readonly id: string;
  /** Whether it may be replaced or removed: not one that the provider, or another program under a name of its own, made. */
  readonly isManaged: boolean;
}

/** One table as it is now. */
export interface CloudTable {
  readonly table: string;
  /** The IPv4 ones. */
  readonly routes: readonly CloudRoute[];
  /** Routes that count against the quota. */
  readonly routeCount: number;
  /** Missing where the provider does not tell it. */
  readonly quota?: number;
}

/**
 * One provider, seen from this host. Methods reject with a FlannelError: `CLOUD_DENIED`, `CLOUD_QUOTA`, `CLOUD_REJECTED`,
 * `CLOUD_THROTTLED`, `CLOUD_UNAVAILABLE` or `CANCELLED`, whose message names the permission that is missing. Messages
 * hold no secrets.
 */
export interface CloudRoutes extends AsyncDisposable {
  /** Also puts right what can be put right at the instance itself. */
  facts(signal: AbortSignal): Promise<CloudFacts>;
  list(table: string, signal: AbortSignal): Promise<CloudTable>;
  /** Leads `destination` to this host. `existing` is what leads it elsewhere and may be replaced. Resolves when accepted. */
  set(wanted: WantedRoute, existing: CloudRoute | undefined, signal: AbortSignal): Promise<void>;
  /** Succeeds when it is gone already. */
  remove(route: CloudRoute, signal: AbortSignal): Promise<void>;
}

export interface WantedRoute {
  readonly table: string;
  readonly destination: Prefix;
  readonly target: string;
}
