// The external interface after a change of the host: where its address is now, by which name, and what it lacks. Pure.
import { type Address, type Family, prefixAddress } from "../ip/address.ts";
import type { LinkMessage } from "../netlink/rtnetlink/messages.ts";
import type { ExternalInterface } from "./external-interface.ts";
import { compileGoRegex } from "./go-regex.ts";
import { addressFault, entryOf, faultText, hasOnlyHostPrefix, servingAddresses } from "./interface-addresses.ts";
import {
  type Candidate,
  definedAddress,
  parsePublicAddresses,
  toExternalInterface,
  wayFrom,
} from "./interface-choice.ts";
import type { InterfaceFacts, InterfaceOptions } from "./interface-facts.ts";
import { leadsOut } from "./way-out.ts";

export interface FollowedInterface {
  readonly interface: ExternalInterface;
  /** Why it cannot be used: then its `isUp` is false. */
  readonly reason?: string;
  /** Why IPv6 does not work although the network has it; IPv4 does. */
  readonly ipv6Reason?: string;
}

/**
 * The same interface after a change, found by its index, else by its address (which moves to a bridge that the interface
 * joins), else by its name (a recreated device). It keeps its addresses while they are there and takes others where they
 * are gone. `isUp` is false in the result while its main family has no address; the last one is then kept.
 */
export function followInterface(
  previous: ExternalInterface,
  options: InterfaceOptions,
  facts: InterfaceFacts,
): FollowedInterface {
  const holder = holderOf(previous, options, facts);
  if (holder === undefined) return lost(previous, `interface ${previous.name} no longer exists`);
  const { families } = options;
  const addressOf = (family: Family) =>
    families.has(family) ? followAddress(previous, family, holder, options, facts) : undefined;
  const [address, ipv6Address] = [addressOf(4), addressOf(6)];
  const isHostPrefix = (family: Family, found: Address | undefined) =>
    found === undefined ? previous.hostPrefixes?.includes(family) === true : hasOnlyHostPrefix(found, holder, facts);
  const kept: Candidate = {
    link: holder,
    hostPrefixes: [...families].filter((family) => isHostPrefix(family, family === 4 ? address : ipv6Address)),
    ...definedAddress("address", address ?? previous.address),
    ...definedAddress("ipv6Address", ipv6Address ?? previous.ipv6Address),
  };
  const candidate = wayOfKept(kept, previous, options, facts);
  const current = toExternalInterface(candidate, families, parsePublicAddresses(options));
  // The kernel takes IPv6 addresses away from a link that goes down: that it is down comes first.
  if (!current.isUp) return lost(current, `interface ${current.name} is down`);
  if (families.has(4) && address === undefined) return lost(current, lossText(previous.address, holder, facts));
  if (!families.has(6) || ipv6Address !== undefined) return { interface: current };
  const ipv6Reason = lossText(previous.ipv6Address, holder, facts);
  return families.has(4) ? { interface: current, ipv6Reason } : lost(current, ipv6Reason);
}

function lost(external: ExternalInterface, reason: string): FollowedInterface {
  return { interface: { ...external, isUp: false }, reason };
}

/** The device that has the addresses. */
function holderOf(
  previous: ExternalInterface,
  options: InterfaceOptions,
  facts: InterfaceFacts,
): LinkMessage | undefined {
  const main = options.families.has(4) ? previous.address : previous.ipv6Address;
  const { addressDevice } = previous;
  const same = facts.links.find(({ index, name }) =>
    addressDevice === undefined ? index === previous.index : name === addressDevice,
  );
  if (main === undefined || (same !== undefined && isUsableOn(main, same, facts))) return same;
  const moved = facts.links.find((link) => link !== same && isUsableOn(main, link, facts));
  return moved ?? same ?? facts.links.find(({ name }) => name === previous.name);
}

function isUsableOn(address: Address, link: LinkMessage, facts: InterfaceFacts): boolean {
  const entry = entryOf(address, facts, link);
  return entry !== undefined && addressFault(entry) !== "failed";
}

/** Adds the interface that packets leave through where that is not the one with the addresses. */
function wayOfKept(
  kept: Candidate,
  previous: ExternalInterface,
  options: InterfaceOptions,
  facts: InterfaceFacts,
): Candidate {
  const main = options.families.has(4) ? kept.address : kept.ipv6Address;
  if (main === undefined || leadsOut(main, kept.link, facts)) return kept;
  if (previous.addressDevice !== undefined && previous.followsRoutes !== true) {
    // The operator named it.
    const named =
      facts.links.find(({ index }) => index === previous.index) ??
      facts.links.find(({ name }) => name === previous.name);
    if (named !== undefined) return { ...kept, link: named, addressLink: kept.link };
  }
  const way = wayFrom(main, kept.link, options, facts);
  if (way !== undefined) return { ...way, ...kept, link: way.link };
  // No route leads anywhere right now: what was used last is as good as any.
  const last = facts.links.find(({ index }) => index === previous.index);
  if (previous.followsRoutes !== true || last === undefined) return kept;
  return { ...kept, link: last, mtuBytes: previous.mtuBytes, addressLink: kept.link, followsRoutes: true };
}

/**
 * Keeps the address while it is there, also a deprecated one; otherwise one that the regular expressions ask for,
 * otherwise the best. In place of an address with a wider prefix no /32 or /128 is taken: it floats (keepalived), and
 * what it lacks is on its way back (DHCP).
 */
function followAddress(
  external: ExternalInterface,
  family: Family,
  link: LinkMessage,
  options: InterfaceOptions,
  facts: InterfaceFacts,
): Address | undefined {
  const previous = family === 4 ? external.address : external.ipv6Address;
  const remembered = new Set(previous === undefined ? [] : [previous]);
  const candidates = servingAddresses(link, family, facts, { families: options.families, remembered });
  if (previous !== undefined && candidates.includes(previous)) return previous;
  const mayFloat = previous === undefined || external.hostPrefixes?.includes(family) === true;
  const others = candidates.filter((address) => mayFloat || !hasOnlyHostPrefix(address, link, facts));
  for (const pattern of options.interfaceRegexes) {
    const regex = compileGoRegex(pattern);
    const match = others.find((address) => regex.test(address));
    if (match !== undefined) return match;
  }
  return others[0];
}

function lossText(address: Address | undefined, link: LinkMessage, facts: InterfaceFacts): string {
  const entry = address === undefined ? undefined : entryOf(address, facts, link);
  const fault = entry === undefined ? undefined : addressFault(entry);
  if (address !== undefined && fault === "failed")
    return `interface ${link.name} cannot use its address: ${faultText(address, fault)}`;
  const floating = facts.addresses.filter((found) => found.index === link.index && !found.address.includes(":"));
  if (address !== undefined && !address.includes(":") && floating.length > 0) {
    const texts = floating.map((found) => prefixAddress(found.address)).join(", ");
    return `interface ${link.name} lost its address; ${texts} may be a floating address and is not announced instead`;
  }
  return `interface ${link.name} lost its address`;
}
