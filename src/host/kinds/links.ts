// The devices of the host, and what makes an object ours.
import { FlannelError } from "../../errors.ts";
import type { Prefix } from "../../ip/address.ts";
import type { LinkMessage } from "../../netlink/rtnetlink/messages.ts";
import { routeTable } from "../../netlink/uapi.ts";
import type { HostLink } from "./link-form.ts";

/** What makes an object ours. */
export interface Ownership {
  /** Names; a device counts when its kind is one of ours too. */
  readonly ownDevices: ReadonlySet<string>;
  /** Routes with our protocol number are ours inside these networks: other agents on this host have other networks. */
  readonly ownedNetworks: readonly Prefix[];
  /** Where our routes stand; missing: the main table. */
  readonly routeTable?: number;
  /** Where they stood in an earlier configuration, or before the network had a table of its own. */
  readonly staleTables?: readonly number[];
  /** The network is kept apart from others by prohibitions in `ISOLATION_TABLE`. */
  readonly isIsolated?: boolean;
}

/** Of all agents on a host: what leaves a network for another one is prohibited there. */
export const ISOLATION_TABLE = 2_410 as const;

/** The table of our routes. */
export function tableOf({ routeTable: table = routeTable.main }: Pick<Ownership, "routeTable">): number {
  return table;
}

/** All tables in which routes of ours may stand. */
export function tablesOf(ownership: Ownership): readonly number[] {
  return [
    ...new Set([
      ...[tableOf(ownership), routeTable.main, ...(ownership.staleTables ?? [])],
      ...(ownership.isIsolated === true ? [ISOLATION_TABLE] : []),
    ]),
  ];
}

/** Kinds of devices that we create; one of another kind under our name is another program's. */
export const OWN_LINK_KINDS: ReadonlySet<string> = new Set<HostLink["kind"]>([
  ...(["vxlan", "tun", "wireguard", "ipip", "ip6tnl"] as const),
]);

/** The links of the host by index and by name. */
export class LinkDirectory {
  readonly #byIndex = new Map<number, LinkMessage>();
  readonly #byName = new Map<string, LinkMessage>();

  replaceAll(links: readonly LinkMessage[]): void {
    this.#byIndex.clear();
    this.#byName.clear();
    for (const link of links) this.set(link);
  }

  set(link: LinkMessage): void {
    const before = this.#byIndex.get(link.index);
    if (before !== undefined && before.name !== link.name) this.#forgetName(before);
    this.#byIndex.set(link.index, link);
    this.#byName.set(link.name, link);
  }

  delete(link: LinkMessage): void {
    this.#byIndex.delete(link.index);
    this.#forgetName(link);
  }

  byIndex(index: number | undefined): LinkMessage | undefined {
    return index === undefined ? undefined : this.#byIndex.get(index);
  }

  byName(name: string): LinkMessage | undefined {
    return this.#byName.get(name);
  }

  /** Throws `KERNEL_NOT_FOUND`. */
  require(name: string | undefined): LinkMessage {
    const link = name === undefined ? undefined : this.#byName.get(name);
    if (link === undefined) throw missingDevice(name);
    return link;
  }

  all(): IterableIterator<LinkMessage> {
    return this.#byIndex.values();
  }

  #forgetName(link: LinkMessage): void {
    if (this.#byName.get(link.name)?.index === link.index) this.#byName.delete(link.name);
  }
}

export function missingDevice(name: string | undefined): FlannelError {
  return new FlannelError("KERNEL_NOT_FOUND", `device ${name ?? "?"} does not exist`, { retryable: true });
}

/** Our device with this index; undefined for all others. */
export function ownDeviceName(
  index: number | undefined,
  links: LinkDirectory,
  ownership: Ownership,
): string | undefined {
  const link = links.byIndex(index);
  if (link === undefined || !ownership.ownDevices.has(link.name)) return undefined;
  return OWN_LINK_KINDS.has(link.kind ?? "") ? link.name : undefined;
}
