// Over which family a peer is reached by a device that carries both. Pure.
import { type Address, type Family, parsePrefix } from "../../ip/address.ts";
import { containsAddress } from "../../ip/prefix.ts";
import type { LeaseAttributes } from "../../lease/lease.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { WireguardMode } from "./wireguard-options.ts";

const privateIpv4 = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].map(parsePrefix);
/** Unique local addresses (RFC 4193). */
const privateIpv6 = [parsePrefix("fc00::/7")];

/**
 * `auto` chooses as upstream: IPv4 where the peer has a public address and this host any; else IPv6 where both have public
 * ones; else IPv4. A peer or host without one of the families is reached over the other.
 */
export function endpointFamily(
  mode: Exclude<WireguardMode, "separate">,
  { publicIp, publicIpv6 }: LeaseAttributes,
  { address, ipv6Address }: ExternalInterface,
): Family {
  if (mode !== "auto") return mode === "ipv4" ? 4 : 6;
  if (publicIpv6 === undefined || ipv6Address === undefined) return 4;
  if (publicIp === undefined || address === undefined) return 6;
  if (!isPrivate(publicIp, privateIpv4)) return 4;
  return isPrivate(publicIpv6, privateIpv6) || isPrivate(ipv6Address, privateIpv6) ? 4 : 6;
}

function isPrivate(address: Address, prefixes: typeof privateIpv4): boolean {
  return prefixes.some((prefix) => containsAddress(prefix, address));
}
