// Which interface and which of its addresses carry the traffic to the other hosts: flannel's rules over what the kernel
// listed. Pure; following changes afterwards is follow-interface.ts, reading the kernel external-interface-watch.ts.
import { FlannelError } from "../errors.ts";
import { type Address, type Family, familyOf, prefixAddress, tryParseAddress } from "../ip/address.ts";
import type { LinkMessage } from "../netlink/rtnetlink/messages.ts";
import { routeTable, rtn } from "../netlink/uapi.ts";
import type { ExternalInterface, FamilySet } from "./external-interface.ts";
import { compileGoRegex } from "./go-regex.ts";
import {
  addressFault,
  candidateAddresses,
  entryOf,
  faultText,
  hasOnlyHostPrefix,
  linkWithAddress,
  servingAddresses,
} from "./interface-addresses.ts";
import type { InterfaceFacts, InterfaceOptions } from "./interface-facts.ts";
import { leadsOut, linkOfRoute, wayOut } from "./way-out.ts";

export interface InterfaceChoice {
  readonly interface: ExternalInterface;
  readonly warnings: readonly string[];
}

/** An interface with the addresses that were asked for, or all of them. */
export interface Candidate {
  /** Packets leave through it. */
  readonly link: LinkMessage;
  readonly mtuBytes?: number;
  /** The device that has the addresses, where no packets leave through that. */
  readonly addressLink?: LinkMessage;
  readonly followsRoutes?: boolean;
  readonly hostPrefixes?: readonly Family[];
  readonly address?: Address;
  readonly ipv6Address?: Address;
}

export interface PublicAddresses {
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
      const candidate = complete(
        withPublicAddresses(select(warnings), publicAddresses, options, facts),
        options,
        facts,
      );
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
    { details: { reasons: reasons.join("; ") } },
  );
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
          byRegex(pattern, regex, options, facts),
    ),
    ...(target === undefined ? [] : [() => byReach(target, options, facts)]),
  ];
  return selectors.length > 0 ? selectors : [(warnings) => byPublicAddress(publicAddresses, families, facts, warnings)];
}

function byNameOrAddress(text: string, families: FamilySet, facts: InterfaceFacts): Candidate {
  const address = tryParseAddress(text);
  if (address !== undefined) return byAddress(address, families, facts);
  const link =
    facts.links.find((found) => found.name === text) ??
    facts.links.find((found) => found.altNames?.includes(text) === true);
  if (link === undefined) throw notFound(`no interface is named ${text}`);
  return { link };
}

function byAddress(address: Address, families: FamilySet, facts: InterfaceFacts): Candidate {
  const link = linkWithAddress(address, facts);
  const entry = entryOf(address, facts, link);
  if (link === undefined || entry === undefined) throw notFound(`no interface has the address ${address}`);
  const fault = addressFault(entry);
  if (fault !== undefined)
    throw notFound(`interface ${link.name} cannot use its address: ${faultText(address, fault)}`);
  const family = familyOf(address);
  if (!families.has(family)) return { link };
  return family === 4 ? { link, address } : { link, ipv6Address: address };
}

/** Addresses first, in kernel order of the interfaces, then names. In dual stack both families must match on one. */
function byRegex(pattern: string, regex: RegExp, options: InterfaceOptions, facts: InterfaceFacts): Candidate {
  const { families, remembered } = options;
  for (const link of facts.links) {
    const [address, ipv6Address] = ([4, 6] as const).map((family) => {
      if (!families.has(family)) return undefined;
      return candidateAddresses(link, family, facts, remembered).find((text) => regex.test(text));
    });
    if ((address === undefined && families.has(4)) || (ipv6Address === undefined && families.has(6))) continue;
    return { link, ...definedAddress("address", address), ...definedAddress("ipv6Address", ipv6Address) };
  }
  const link = facts.links.find((found) => regex.test(found.name));
  if (link === undefined) throw notFound(`--iface-regex ${pattern} matches no address and no interface name`);
  return { link };
}

/** The source that the kernel prefers, unless an address of the interface was announced before. */
function byReach(target: Address, { remembered }: InterfaceOptions, facts: InterfaceFacts): Candidate {
  const link = facts.links.find((found) => found.index === facts.reach?.outIndex);
  if (link === undefined) throw notFound(`the kernel has no route to ${target} (--iface-can-reach)`);
  const family = familyOf(target);
  const [best] = candidateAddresses(link, family, facts, remembered);
  const source = best !== undefined && remembered?.has(best) === true ? best : facts.reach?.preferredSource;
  return { link, ...definedAddress(family === 4 ? "address" : "ipv6Address", source) };
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

/** Where the first default route that leads anywhere leaves. */
function defaultRouteLink(family: Family, facts: InterfaceFacts): LinkMessage | undefined {
  const destination = family === 4 ? "0.0.0.0/0" : "::/0";
  for (const route of facts.routes) {
    if (route.destination !== destination || route.table !== routeTable.main || route.type !== rtn.unicast) continue;
    const link = linkOfRoute(route, facts);
    if (link !== undefined) return link;
  }
  return undefined;
}

/**
 * Public addresses that stand on a device of this host which no packets leave through (loopback, dummy): the traffic is
 * to bear them. In dual stack one that stands on another network interface is refused.
 */
function withPublicAddresses(
  candidate: Candidate,
  { publicIp, publicIpv6 }: PublicAddresses,
  { families }: InterfaceOptions,
  facts: InterfaceFacts,
): Candidate {
  let completed = candidate;
  for (const publicAddress of [publicIp, publicIpv6]) {
    if (publicAddress === undefined || !families.has(familyOf(publicAddress))) continue;
    const name = familyOf(publicAddress) === 4 ? "address" : "ipv6Address";
    const other = linkWithAddress(publicAddress, facts);
    if (other === undefined || other.index === candidate.link.index || candidate[name] !== undefined) continue;
    if (!leadsOut(publicAddress, other, facts)) {
      completed = { ...completed, addressLink: other, ...definedAddress(name, publicAddress) };
    } else if (families.size > 1 && name === "ipv6Address") {
      const text = `the external interface is ${candidate.link.name}, but --public-ipv6 ${publicAddress} is on ${other.name}`;
      throw notFound(text);
    }
  }
  return completed;
}

/** Fills missing addresses with the best of the interface, and finds the way out where no packets leave through it. */
function complete(candidate: Candidate, options: InterfaceOptions, facts: InterfaceFacts): Candidate {
  const { families } = options;
  const { link } = candidate;
  if (link.mtuBytes === 0) throw notFound(`interface ${link.name} has no MTU`);
  const addressOf = (family: Family, required: boolean): Address | undefined => {
    if (!families.has(family)) return undefined;
    const known = family === 4 ? candidate.address : candidate.ipv6Address;
    const best = known ?? servingAddresses(link, family, facts, options)[0];
    if (best === undefined && required) throw notFound(noAddressText(link, family, facts));
    return best;
  };
  const standing = addressOf(4, false) ?? addressOf(6, false);
  const way =
    standing === undefined || candidate.addressLink !== undefined ? undefined : wayFrom(standing, link, options, facts);
  if (way !== undefined) return complete({ ...candidate, ...way }, options, facts);
  const [address, ipv6Address] = [addressOf(4, true), addressOf(6, true)];
  const holder = candidate.addressLink ?? link;
  const hostPrefixes = [address, ipv6Address].filter(
    (each) => each !== undefined && hasOnlyHostPrefix(each, holder, facts),
  );
  return {
    ...candidate,
    hostPrefixes: hostPrefixes.flatMap((each) => (each === undefined ? [] : [familyOf(each)])),
    ...definedAddress("address", address),
    ...definedAddress("ipv6Address", ipv6Address),
  };
}

/** The device that packets with this address leave through, where that is another one than has the address. */
export function wayFrom(
  address: Address,
  link: LinkMessage,
  options: InterfaceOptions,
  facts: InterfaceFacts,
): Candidate | undefined {
  if (leadsOut(address, link, facts)) return undefined;
  const way = wayOut(familyOf(address), options, facts);
  if (way === undefined || way.link.index === link.index) return undefined;
  const bound = ([4, 6] as const).map((family) => servingAddresses(link, family, facts, options)[0]);
  return {
    link: way.link,
    mtuBytes: way.mtuBytes,
    addressLink: link,
    followsRoutes: true,
    ...definedAddress("address", familyOf(address) === 4 ? address : bound[0]),
    ...definedAddress("ipv6Address", familyOf(address) === 6 ? address : bound[1]),
  };
}

function noAddressText(link: LinkMessage, family: Family, facts: InterfaceFacts): string {
  const faults = facts.addresses.flatMap((entry) => {
    const fault = addressFault(entry);
    const isHere = entry.index === link.index && familyOf(entry.address) === family;
    return isHere && fault !== undefined ? [faultText(prefixAddress(entry.address), fault)] : [];
  });
  return [`interface ${link.name} has no usable IPv${family} address`, ...faults].join(": ");
}

export function toExternalInterface(
  { link, mtuBytes, addressLink, followsRoutes, hostPrefixes = [], address, ipv6Address }: Candidate,
  families: FamilySet,
  publicAddresses: PublicAddresses,
): ExternalInterface {
  const publicIp = families.has(4) ? (publicAddresses.publicIp ?? address) : undefined;
  const publicIpv6 = families.has(6) ? (publicAddresses.publicIpv6 ?? ipv6Address) : undefined;
  return {
    name: link.name,
    index: link.index,
    mtuBytes: mtuBytes ?? link.mtuBytes,
    isUp: link.isUp,
    ...(link.mac !== undefined && { mac: link.mac }),
    ...(addressLink !== undefined && { addressDevice: addressLink.name }),
    ...(followsRoutes === true && { followsRoutes }),
    ...(hostPrefixes.length > 0 && { hostPrefixes }),
    ...definedAddress("address", address),
    ...definedAddress("ipv6Address", ipv6Address),
    ...definedAddress("publicIp", publicIp),
    ...definedAddress("publicIpv6", publicIpv6),
  };
}

export function parsePublicAddresses(options: InterfaceOptions): PublicAddresses {
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

export function definedAddress<K extends string>(
  name: K,
  address: Address | undefined,
): { readonly [P in K]?: Address } {
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
