// From what the agent knows of its network to the watch over what this host uses inside of it.
import type { BackendRegistry } from "../../backend/registry.ts";
import type { Prefix } from "../../ip/address.ts";
import { type LeasedSubnets, prefixesOf } from "../../lease/lease.ts";
import type { LinkMessage } from "../../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { OccupiedContext, OccupiedPrefix, ReachedAddress } from "../../underlay/occupied-prefixes.ts";
import { OccupiedWatch } from "../../underlay/occupied-watch.ts";

/** What of it the agent knows besides the kernel. */
export interface OccupiedSources {
  /** Subnets of earlier leases of this host. */
  readonly earlierSubnets: (own: LeasedSubnets | undefined) => readonly Prefix[];
  /** Where the store is reached, and whatever else this host cannot do without. */
  readonly reached: () => readonly ReachedAddress[];
}

export interface OccupiedOptions extends OccupiedSources {
  readonly backends: BackendRegistry;
  readonly networks: readonly Prefix[];
  /** See `Backend.furtherNetworks`. */
  readonly furtherNetworks: () => readonly Prefix[];
  readonly own: () => LeasedSubnets | undefined;
  readonly rtnetlink: Rtnetlink;
  readonly logger: Logger;
  readonly onChange: () => void;
}

export class OccupiedAddresses implements AsyncDisposable {
  readonly #watch: OccupiedWatch;

  private constructor(watch: OccupiedWatch) {
    this.#watch = watch;
  }

  /** Has looked once when it resolves. Rejects when the kernel cannot be read. */
  static async open(options: OccupiedOptions): Promise<OccupiedAddresses> {
    const { rtnetlink, logger, onChange } = options;
    const context = () => contextOf(options);
    return new OccupiedAddresses(await OccupiedWatch.open({ rtnetlink, logger, onChange, context }));
  }

  /** The same array while nothing changes. */
  get current(): readonly OccupiedPrefix[] {
    return this.#watch.current;
  }

  /** As `current`, also right after `furtherNetworks` changed. */
  upToDate(): Promise<readonly OccupiedPrefix[]> {
    return this.#watch.upToDate();
  }

  /** As it would be with `subnets` as those of our containers. */
  besides(subnets: LeasedSubnets): readonly OccupiedPrefix[] {
    return this.#watch.besides(prefixesOf(subnets));
  }

  /** Where no route of ours may lead. */
  forbidden(own: LeasedSubnets): readonly Prefix[] {
    return [...prefixesOf(own), ...this.current.map(({ prefix }) => prefix)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watch[Symbol.asyncDispose]();
  }
}

function contextOf({
  backends,
  networks,
  furtherNetworks,
  own,
  earlierSubnets,
  reached,
}: OccupiedOptions): OccupiedContext {
  const present = own();
  return {
    networks: [...networks, ...furtherNetworks()],
    ownSubnets: prefixesOf(present),
    earlierSubnets: earlierSubnets(present),
    isFlannelLink: (link) => isFlannelLink(link, backends),
    reached: reached(),
  };
}

/** Kinds of upstream's devices that none of our backends makes. */
const UPSTREAM_KINDS: readonly string[] = ["wireguard", "ipip", "sit"];

/** Of any network, and upstream's: what such a device is connected to is no network of others. */
export function isFlannelLink({ name, kind = "" }: LinkMessage, { devicePatterns }: BackendRegistry): boolean {
  if (UPSTREAM_KINDS.includes(kind)) return /^flannel[.-]/.test(name);
  return devicePatterns.some((known) => known.kind === kind && known.pattern.test(name));
}
