// Which interface and which of its addresses carry the traffic to the other hosts: flannel's rules over what the kernel
// listed. Pure; reading the kernel and following changes is external-interface.ts.
import { FlannelError } from "../errors.ts";
import { type Address, addressToBytes, type Family, familyOf, prefixAddress, tryParseAddress } from "../ip/address.ts";
import type { AddressMessage, LinkMessage, RouteMessage } from "../netlink/rtnetlink/messages.ts";
import { routeTable, rtn } from "../netlink/uapi.ts";
import type { ExternalInterface, FamilySet } from "./external-interface.ts";
import { compileGoRegex } from "./go-regex.ts";

/** As given on the command line; texts unchecked. */
export interface InterfaceOptions {
  /** The families the network uses. */
  readonly families: FamilySet;
  /** `--iface`: names or addresses, in order of preference. */
  readonly interfaces: readonly string[];
  /** `--iface-regex`, Go syntax. */
  readonly interfaceRegexes: readonly string[];
  /** `--iface-can-reach`. */
  readonly canReach?: string;
  readonly publicIp?: string;
  readonly publicIpv6?: string;
}

/** What the kernel told, in its order. */
export interface InterfaceFacts {
  readonly links: readonly LinkMessage[];
  readonly addresses: readonly AddressMessage[];
  readonly routes: readonly RouteMessage[];
  /** The kernel's answer for `canReach`; missing when it has no route there. */
  readonly reach?: { readonly outIndex: number; readonly preferredSource?: Address };
}

export interface InterfaceChoice {
  readonly interface: ExternalInterface;
  readonly warnings: readonly string[];
}

interface Candidate {
  readonly link: LinkMessage;
  readonly address?: Address;
  readonly ipv6Address?: Address;
}

interface PublicAddresses {
  readonly publicIp?: Address;
  readonly publicIpv6?: Address;
}

/**
 * The first selector that fits wins: each `--iface`, each `--iface-regex`, `--iface-can-reach`; without any of them the
 * interface that has the public IP, else the one of the default route.
 * Throws `CONFIG_INVALID` for texts that are no address or regular expression, `INTERFACE_NOT_FOUND` with a list of all
 * interfaces when nothing fits.
 */
export function chooseInterface(options: InterfaceOptions, facts: InterfaceFacts): InterfaceChoice {
  const publicAddresses = parsePublicAddresses(options);
  const selectors = selectorsOf(options, publicAddresses, facts);
  const warnings: string[] = [];
  const reasons: string[] = [];
  for (const select of selectors) {
    try {
      const candidate = complete(select(warnings), options.families, facts);
      requireSameInterface(candidate, options.families, publicAddresses, facts);
      return { interface: toExternalInterface(candidate, options.families, publicAddresses), warnings };
    } catch (error) {
      if (!(error instanceof FlannelError) || error.code !== "INTERFACE_NOT_FOUND") throw error;
      reasons.push(error.message);
    }
  }
  throw new FlannelError(
    "INTERFACE_NOT_FOUND",
    `cannot choose the external interface: ${reasons.join("; ")}. ` +
      `Interfaces of this host: ${describeInterfaces(facts)}. Name one with --iface`,
  );
}

/**
 * The same interface after a change: the addresses it has kept, others where they are gone.
 * `previous.isUp` is false in the result while a family has no address; the last one is then kept.
 */
export function followInterface(
  previous: ExternalInterface,
  options: InterfaceOptions,
  facts: InterfaceFacts,
): { readonly interface: ExternalInterface; readonly reason?: string } {
  const link = facts.links.find((found) => found.name === previous.name);
  if (link === undefined) return lost(previous, `interface ${previous.name} no longer exists`);
  const { families } = options;
  const address = families.has(4) ? followAddress(previous.address, 4, link, options, facts) : undefined;
  const ipv6Address = families.has(6) ? followAddress(previous.ipv6Address, 6, link, options, facts) : undefined;
  const missing = (families.has(4) && address === undefined) || (families.has(6) && ipv6Address === undefined);
  const kept: Candidate = {
    link,
    ...definedAddress("address", address ?? previous.address),
    ...definedAddress("ipv6Address", ipv6Address ?? previous.ipv6Address),
  };
  const current = toExternalInterface(kept, families, parsePublicAddresses(options));
  // The kernel takes IPv6 addresses away from a link that goes down: that it is down comes first.
  if (!link.isUp) return lost(current, `interface ${link.name} is down`);
  return missing ? lost(current, `interface ${link.name} lost its address`) : { interface: current };
}

function lost(external: ExternalInterface, reason: string): { interface: ExternalInterface; reason: string } {
  return { interface: { ...external, isUp: false }, reason };
}

/** Keeps the address while it is there; otherwise one that the regular expressions ask for, otherwise the best. */
function followAddress(
  previous: Address | undefined,
  family: Family,
  link: LinkMessage,
  options: InterfaceOptions,
  facts: InterfaceFacts,
): Address | undefined {
  const candidates = candidateAddresses(link, family, facts);
  if (previous !== undefined && candidates.includes(previous)) return previous;
  for (const pattern of options.interfaceRegexes) {
    const regex = compileGoRegex(pattern);
    const match = candidates.find((address) => regex.test(address));
    if (match !== undefined) return match;
  }
  return candidates[0];
}

type Selector = (warnings: string[]) => Candidate;

function selectorsOf(options: InterfaceOptions, publicAddresses: PublicAddresses, facts: InterfaceFacts): Selector[] {
  const { families, interfaces, interfaceRegexes, canReach } = options;
  const regexes = interfaceRegexes.map((pattern) => ({ pattern, regex: compileGoRegex(pattern) }));
  const target = canReach === undefined ? undefined : parseFlag("--iface-can-reach", canReach);
  const selectors: Selector[] = [
    ...interfaces.map((text) => () => byNameOrAddress(text, families, facts)),
    ...regexes.map(
      ({ pattern, regex }) =>
        () =>
          byRegex(pattern, regex, families, facts),
    ),
    ...(target === undefined ? [] : [() => byReach(target, facts)]),
  ];
  return selectors.length > 0 ? selectors : [(warnings) => byPublicAddress(publicAddresses, families, facts, warnings)];
}

function byNameOrAddress(text: string, families: FamilySet, facts: InterfaceFacts): Candidate {
  const address = tryParseAddress(text);
  if (address !== undefined) return byAddress(address, families, facts);
  const link = facts.links.find((found) => found.name === text);
  if (link === undefined) throw notFound(`no interface is named ${text}`);
  return { link };
}

function byAddress(address: Address, families: FamilySet, facts: InterfaceFacts): Candidate {
  const link = linkWithAddress(address, facts);
  if (link === undefined) throw notFound(`no interface has the address ${address}`);
  const family = familyOf(address);
  if (!families.has(family)) return { link };
  return family === 4 ? { link, address } : { link, ipv6Address: address };
}

/** Addresses first, in kernel order of the interfaces, then names. In dual stack both families must match on one. */
function byRegex(pattern: string, regex: RegExp, families: FamilySet, facts: InterfaceFacts): Candidate {
  for (const link of facts.links) {
    const [address, ipv6Address] = ([4, 6] as const).map((family) =>
      families.has(family) ? candidateAddresses(link, family, facts).find((text) => regex.test(text)) : undefined,
    );
    if ((address === undefined && families.has(4)) || (ipv6Address === undefined && families.has(6))) continue;
    return { link, ...definedAddress("address", address), ...definedAddress("ipv6Address", ipv6Address) };
  }
  const link = facts.links.find((found) => regex.test(found.name));
  if (link === undefined) throw notFound(`--iface-regex ${pattern} matches no address and no interface name`);
  return { link };
}

function byReach(target: Address, facts: InterfaceFacts): Candidate {
  const link = facts.links.find((found) => found.index === facts.reach?.outIndex);
  if (link === undefined) throw notFound(`the kernel has no route to ${target} (--iface-can-reach)`);
  const source = facts.reach?.preferredSource;
  return { link, ...definedAddress(familyOf(target) === 4 ? "address" : "ipv6Address", source) };
}

function byPublicAddress(
  { publicIp, publicIpv6 }: PublicAddresses,
  families: FamilySet,
  facts: InterfaceFacts,
  warnings: string[],
): Candidate {
  const selector = publicIp ?? publicIpv6;
  if (selector === undefined) return byDefaultRoute(families, facts);
  if (linkWithAddress(selector, facts) !== undefined) return byAddress(selector, families, facts);
  const candidate = byDefaultRoute(families, facts);
  warnings.push(
    `no interface of this host has the public address ${selector}: using ${candidate.link.name}, ` +
      `the interface of the default route, and announcing ${selector} to the peers (name an interface with --iface)`,
  );
  return candidate;
}

function byDefaultRoute(families: FamilySet, facts: InterfaceFacts): Candidate {
  const links = [...families].sort().map((family) => {
    const link = defaultRouteLink(family, facts);
    if (link === undefined) throw notFound(`there is no IPv${family} default route`);
    return link;
  });
  const [link, other] = links;
  if (link === undefined) throw notFound("no address family is enabled");
  if (other !== undefined && other.index !== link.index) {
    throw notFound(`the IPv4 default route uses ${link.name}, the IPv6 default route ${other.name}`);
  }
  return { link };
}

/**
 * Where the first default route that leads anywhere leaves. Of several next hops the first that can be used counts,
 * whatever the weights are: the traffic to the other hosts has one source address, which is of one interface.
 */
function defaultRouteLink(family: Family, facts: InterfaceFacts): LinkMessage | undefined {
  const destination = family === 4 ? "0.0.0.0/0" : "::/0";
  const linkOf = (index: number | undefined): LinkMessage | undefined =>
    facts.links.find((found) => found.index === index);
  for (const route of facts.routes) {
    if (route.destination !== destination || route.table !== routeTable.main || route.type !== rtn.unicast) continue;
    const hops = (route.nextHops ?? []).map(({ outIndex, isUsable }) => ({ isUsable, link: linkOf(outIndex) }));
    const usable = hops.find(({ isUsable, link }) => isUsable && link?.isUp === true);
    // None works right now, as after a start without a cable: the first is as good as any.
    const link = linkOf(route.outIndex) ?? (usable ?? hops.find((hop) => hop.link !== undefined))?.link;
    if (link !== undefined) return link;
  }
  return undefined;
}

/** In dual stack a public IPv6 address that is on this host must be on the chosen interface. */
function requireSameInterface(
  candidate: Candidate,
  families: FamilySet,
  { publicIpv6 }: PublicAddresses,
  facts: InterfaceFacts,
): void {
  if (!families.has(4) || !families.has(6) || publicIpv6 === undefined) return;
  const other = linkWithAddress(publicIpv6, facts);
  if (other === undefined || other.index === candidate.link.index) return;
  throw notFound(
    `the external interface is ${candidate.link.name}, but --public-ipv6 ${publicIpv6} is on ${other.name}`,
  );
}

/** Fills missing addresses with the best of the interface. */
function complete(candidate: Candidate, families: FamilySet, facts: InterfaceFacts): Candidate {
  const { link } = candidate;
  if (link.mtuBytes === 0) throw notFound(`interface ${link.name} has no MTU`);
  const [address, ipv6Address] = ([4, 6] as const).map((family) => {
    if (!families.has(family)) return undefined;
    const known = family === 4 ? candidate.address : candidate.ipv6Address;
    const best = known ?? candidateAddresses(link, family, facts)[0];
    if (best === undefined) throw notFound(`interface ${link.name} has no usable IPv${family} address`);
    return best;
  });
  return { link, ...definedAddress("address", address), ...definedAddress("ipv6Address", ipv6Address) };
}

function toExternalInterface(
  { link, address, ipv6Address }: Candidate,
  families: FamilySet,
  publicAddresses: PublicAddresses,
): ExternalInterface {
  const publicIp = families.has(4) ? (publicAddresses.publicIp ?? address) : undefined;
  const publicIpv6 = families.has(6) ? (publicAddresses.publicIpv6 ?? ipv6Address) : undefined;
  return {
    name: link.name,
    index: link.index,
    mtuBytes: link.mtuBytes,
    isUp: link.isUp,
    ...(link.mac !== undefined && { mac: link.mac }),
    ...definedAddress("address", address),
    ...definedAddress("ipv6Address", ipv6Address),
    ...definedAddress("publicIp", publicIp),
    ...definedAddress("publicIpv6", publicIpv6),
  };
}

const IFA_F_TEMPORARY = 0x01;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_PERMANENT = 0x80;

/** Usable addresses of one family, best first: global before link-local, permanent, not temporary, kernel order. */
function candidateAddresses(link: LinkMessage, family: Family, facts: InterfaceFacts): Address[] {
  return facts.addresses
    .filter((found) => found.index === link.index && familyOf(found.address) === family)
    .filter((found) => (found.flags & IFA_F_DEPRECATED) === 0)
    .map((found) => ({ address: prefixAddress(found.address), flags: found.flags }))
    .map((found) => ({ ...found, reach: unicastReach(found.address) }))
    .filter((found) => found.reach !== "none")
    .sort((a, b) => rank(a) - rank(b))
    .map((found) => found.address);
}

function rank({ reach, flags }: { reach: string; flags: number }): number {
  return (
    (reach === "global" ? 0 : 4) + ((flags & IFA_F_PERMANENT) !== 0 ? 0 : 2) + ((flags & IFA_F_TEMPORARY) !== 0 ? 1 : 0)
  );
}

/** Private ranges count as global, as in Go's IsGlobalUnicast. */
function unicastReach(address: Address): "global" | "link" | "none" {
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

function linkWithAddress(address: Address, facts: InterfaceFacts): LinkMessage | undefined {
  const found = facts.addresses.find((candidate) => prefixAddress(candidate.address) === address);
  return found === undefined ? undefined : facts.links.find((link) => link.index === found.index);
}

function parsePublicAddresses(options: InterfaceOptions): PublicAddresses {
  const publicIp = options.publicIp === undefined ? undefined : parseFlag("--public-ip", options.publicIp, 4);
  const publicIpv6 = options.publicIpv6 === undefined ? undefined : parseFlag("--public-ipv6", options.publicIpv6, 6);
  return { ...definedAddress("publicIp", publicIp), ...definedAddress("publicIpv6", publicIpv6) };
}

function parseFlag(flag: string, text: string, family?: Family): Address {
  const address = tryParseAddress(text);
  if (address !== undefined && (family === undefined || familyOf(address) === family)) return address;
  const kind = family === undefined ? "an IP address" : `an IPv${family} address`;
  throw new FlannelError("CONFIG_INVALID", `${flag}=${text} is not ${kind}`);
}

function definedAddress<K extends string>(name: K, address: Address | undefined): { readonly [P in K]?: Address } {
  return address === undefined ? {} : ({ [name]: address } as { readonly [P in K]?: Address });
}

function notFound(message: string): FlannelError {
  return new FlannelError("INTERFACE_NOT_FOUND", message);
}

function describeInterfaces(facts: InterfaceFacts): string {
  const texts = facts.links.map((link) => {
    const addresses = facts.addresses.filter((found) => found.index === link.index);
    return `${link.name} (${addresses.map((found) => prefixAddress(found.address)).join(", ") || "no address"})`;
  });
  return texts.join(", ") || "none";
}
