// Which addresses of an interface may be announced, and in which order of preference. Pure.
import {
  type Address,
  addressBits,
  addressToBytes,
  type Family,
  familyOf,
  prefixAddress,
  prefixLength,
} from "../ip/address.ts";
import type { AddressMessage, LinkMessage } from "../netlink/rtnetlink/messages.ts";
import type { InterfaceFacts, InterfaceOptions } from "./interface-facts.ts";

// IFA_FLAGS of linux/if_addr.h.
const IFA_F_TEMPORARY = 0x01;
const IFA_F_DADFAILED = 0x08;
const IFA_F_DEPRECATED = 0x20;
export const IFA_F_TENTATIVE = 0x40;
const IFA_F_PERMANENT = 0x80;

/** Why an address that is on this host must not be announced; undefined when it may. */
export type AddressFault = "failed" | "tentative";

export function addressFault({ flags }: AddressMessage): AddressFault | undefined {
  if ((flags & IFA_F_DADFAILED) !== 0) return "failed";
  return (flags & IFA_F_TENTATIVE) !== 0 ? "tentative" : undefined;
}

/** A clause for a person. */
export function faultText(address: Address, fault: AddressFault): string {
  return fault === "failed"
    ? `${address} failed duplicate address detection: another host has this address`
    : `${address} is still in duplicate address detection`;
}

/**
 * Addresses of one family that may be announced, best first: those that were announced before, then global before
 * link-local, no floating ones (a /32 or /128 beside a wider prefix, as keepalived sets it), permanent, not temporary,
 * in the kernel's order; deprecated ones last of all. An address that failed duplicate address detection never counts;
 * one for which the detection goes on only if it was announced before.
 */
export function candidateAddresses(
  link: LinkMessage,
  family: Family,
  facts: InterfaceFacts,
  remembered: ReadonlySet<Address> = new Set(),
): Address[] {
  const found = facts.addresses
    .filter((message) => message.index === link.index && familyOf(message.address) === family)
    .map((message) => ({ ...describe(message), fault: addressFault(message) }))
    .filter(({ reach }) => reach !== "none");
  const hasWiderGlobal = found.some(({ reach, isHostPrefix }) => reach === "global" && !isHostPrefix);
  return found
    .filter(({ address, fault }) => fault === undefined || (fault === "tentative" && remembered.has(address)))
    .map((each) => ({ ...each, rank: remembered.has(each.address) ? -1 : rank(each, hasWiderGlobal) }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ address }) => address);
}

/**
 * As `candidateAddresses` with what is remembered. In dual stack a link-local IPv6 address, which every link has, is none
 * by which other hosts reach this one, unless it was announced before.
 */
export function servingAddresses(
  link: LinkMessage,
  family: Family,
  facts: InterfaceFacts,
  { families, remembered }: Pick<InterfaceOptions, "families" | "remembered">,
): Address[] {
  const candidates = candidateAddresses(link, family, facts, remembered);
  if (family === 4 || !families.has(4)) return candidates;
  return candidates.filter((address) => unicastReach(address) === "global" || remembered?.has(address) === true);
}

interface DescribedAddress {
  readonly address: Address;
  readonly reach: "global" | "link" | "none";
  readonly isHostPrefix: boolean;
  readonly flags: number;
}

function describe({ address: prefix, flags }: AddressMessage): DescribedAddress {
  const address = prefixAddress(prefix);
  return { address, flags, reach: unicastReach(address), isHostPrefix: isHostPrefix(prefix) };
}

function isHostPrefix(prefix: AddressMessage["address"]): boolean {
  return prefixLength(prefix) === addressBits(familyOf(prefix));
}

function rank({ reach, isHostPrefix, flags }: DescribedAddress, hasWiderGlobal: boolean): number {
  return (
    ((flags & IFA_F_DEPRECATED) !== 0 ? 16 : 0) +
    (reach === "global" ? 0 : 8) +
    (isHostPrefix && hasWiderGlobal ? 4 : 0) +
    ((flags & IFA_F_PERMANENT) !== 0 ? 0 : 2) +
    ((flags & IFA_F_TEMPORARY) !== 0 ? 1 : 0)
  );
}

/** Private ranges count as global, as in Go's IsGlobalUnicast. */
function unicastReach(address: Address): DescribedAddress["reach"] {
  const bytes = addressToBytes(address);
  const [first = 0, second = 0] = bytes;
  if (bytes.every((byte) => byte === 0) || bytes.every((byte) => byte === 255)) return "none";
  if (bytes.length === 4) {
    if (first === 127 || first >> 4 === 14) return "none";
    return first === 169 && second === 254 ? "link" : "global";
  }
  if (first === 0xff || address === "::1") return "none";
  return first === 0xfe && second >> 6 === 2 ? "link" : "global";
}

/** The first entry with this address, as the kernel lists it. */
export function entryOf(address: Address, facts: InterfaceFacts, link?: LinkMessage): AddressMessage | undefined {
  return facts.addresses.find(
    (candidate) =>
      prefixAddress(candidate.address) === address && (link === undefined || candidate.index === link.index),
  );
}

export function linkWithAddress(address: Address, facts: InterfaceFacts): LinkMessage | undefined {
  const found = entryOf(address, facts);
  return found === undefined ? undefined : facts.links.find((link) => link.index === found.index);
}

/** Whether the link has this address, and with no wider prefix than /32 or /128. */
export function hasOnlyHostPrefix(address: Address, link: LinkMessage, facts: InterfaceFacts): boolean {
  const entries = facts.addresses.filter(
    (found) => found.index === link.index && prefixAddress(found.address) === address,
  );
  return entries.length > 0 && entries.every((entry) => isHostPrefix(entry.address));
}
