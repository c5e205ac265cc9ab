// Derives and checks the room a family leases from, by flannel's rules (SubnetLen, SubnetMin, SubnetMax). Pure.
import { FlannelError } from "../errors.ts";
import {
  type Address,
  addressBits,
  addressToBigInt,
  type Family,
  type Prefix,
  parsePrefix,
  prefixLength,
} from "../ip/address.ts";
import { addToAddress, containsAddress, networkAddress, networkOf, overlaps } from "../ip/prefix.ts";
import type { AddressPool } from "./network-config.ts";

/** What the configuration says; 0 and the zero address mean "not given", as in flannel. */
export interface PoolInput {
  readonly network?: Prefix;
  readonly subnetLength: number;
  readonly subnetMin?: Address;
  readonly subnetMax?: Address;
}

interface PoolRules {
  readonly prefix: string;
  /** Longest subnet that still has room for containers. */
  readonly longestSubnet: number;
  /** Longest Network whose SubnetLen can be derived. */
  readonly longestNetwork: number;
  readonly usualSubnet: number;
}

const rulesByFamily: Readonly<Record<Family, PoolRules>> = {
  4: { prefix: "", longestSubnet: 30, longestNetwork: 28, usualSubnet: 24 },
  6: { prefix: "IPv6", longestSubnet: 126, longestNetwork: 124, usualSubnet: 64 },
};

/** What no host forwards to another. Linux does forward 169.254.0.0/16 and 240.0.0.0/4. */
const reservedByFamily: Readonly<Record<Family, readonly { readonly prefix: Prefix; readonly what: string }[]>> = {
  4: [
    { prefix: parsePrefix("127.0.0.0/8"), what: "the loopback addresses" },
    { prefix: parsePrefix("224.0.0.0/4"), what: "the multicast addresses" },
  ],
  6: [
    { prefix: parsePrefix("::/127"), what: "the unspecified and the loopback address" },
    { prefix: parsePrefix("fe80::/10"), what: "the link-local addresses" },
    { prefix: parsePrefix("ff00::/8"), what: "the multicast addresses" },
  ],
};

/**
 * `leased`: subnets are leased from the pool, whose limits are checked. `given`: another program gives each host its subnet
 * (Kubernetes); then only the network counts, and SubnetLen, SubnetMin and SubnetMax mean nothing.
 */
export type PoolUse = "leased" | "given";

/** Throws `CONFIG_INVALID` naming key, value and rule. */
export function resolvePool(family: Family, input: PoolInput, use: PoolUse): AddressPool {
  const { prefix } = rulesByFamily[family];
  const key = `${prefix}Network`;
  if (input.network === undefined) throw invalid(key, undefined, `is missing, but ${enableKey(family)} is on`);
  const network = networkOf(input.network);
  if (prefixLength(network) === 0) throw invalid(key, network, "must not be the whole address space");
  for (const reserved of reservedByFamily[family]) {
    if (overlaps(network, reserved.prefix)) {
      throw invalid(key, network, `must not overlap ${reserved.prefix}, ${reserved.what}: hosts do not forward it`);
    }
  }
  if (use === "given") return wholePool(family, network);
  const subnetLength = resolveSubnetLength(family, network, input.subnetLength);
  const size = 1n << BigInt(addressBits(family) - subnetLength);
  const networkSize = 1n << BigInt(addressBits(family) - prefixLength(network));
  const start = networkAddress(network);
  // The first subnet is skipped: it contains the network address itself.
  const subnetMin = given(input.subnetMin) ?? addToAddress(start, size);
  const subnetMax = given(input.subnetMax) ?? addToAddress(start, networkSize - size);
  requireInside(`${prefix}SubnetMin`, subnetMin, network);
  requireInside(`${prefix}SubnetMax`, subnetMax, network);
  requireAligned(`${prefix}SubnetMin`, subnetMin, size, subnetLength);
  requireAligned(`${prefix}SubnetMax`, subnetMax, size, subnetLength);
  if (addressToBigInt(subnetMin) > addressToBigInt(subnetMax)) {
    // flannel accepts this and then finds no subnet to lease; we say so here.
    throw invalid(`${prefix}SubnetMin`, subnetMin, `must not be above ${prefix}SubnetMax ${subnetMax}`);
  }
  return { network, subnetLength, subnetMin, subnetMax };
}

/** As if all of it could be leased, in subnets of the usual length or, of a small network, as one. */
function wholePool(family: Family, network: Prefix): AddressPool {
  const subnetLength = Math.max(rulesByFamily[family].usualSubnet, prefixLength(network));
  const start = networkAddress(network);
  const size = 1n << BigInt(addressBits(family) - subnetLength);
  const networkSize = 1n << BigInt(addressBits(family) - prefixLength(network));
  return { network, subnetLength, subnetMin: start, subnetMax: addToAddress(start, networkSize - size) };
}

function resolveSubnetLength(family: Family, network: Prefix, asked: number): number {
  const { prefix, longestSubnet, longestNetwork, usualSubnet } = rulesByFamily[family];
  const length = prefixLength(network);
  if (asked > 0) {
    if (asked > longestSubnet) throw invalid(`${prefix}SubnetLen`, asked, `must be at most ${longestSubnet}`);
    if (asked < length + 2) {
      const rule = `must be at least ${length + 2}, so that ${network} has room for four subnets`;
      throw invalid(`${prefix}SubnetLen`, asked, rule);
    }
    return asked;
  }
  if (length > longestNetwork) {
    throw invalid(`${prefix}Network`, network, `is too small: its prefix must be at most /${longestNetwork}`);
  }
  return Math.max(usualSubnet, length + 2);
}

function given(address: Address | undefined): Address | undefined {
  return address === undefined || addressToBigInt(address) === 0n ? undefined : address;
}

function requireInside(key: string, address: Address, network: Prefix): void {
  if (!containsAddress(network, address)) throw invalid(key, address, `must lie inside Network ${network}`);
}

function requireAligned(key: string, address: Address, size: bigint, subnetLength: number): void {
  if (addressToBigInt(address) % size !== 0n) {
    throw invalid(key, address, `must be the first address of a /${subnetLength} subnet`);
  }
}

function enableKey(family: Family): string {
  return family === 4 ? "EnableIPv4" : "EnableIPv6";
}

/** The one shape of an error about a key of the network configuration. */
export function invalid(key: string, value: unknown, rule: string, cause?: unknown): FlannelError {
  const shown = value === undefined ? "" : ` ${shorten(typeof value === "string" ? value : JSON.stringify(value))}`;
  return new FlannelError("CONFIG_INVALID", `network config: ${key}${shown} ${rule}`, {
    details: { key, value: value ?? null, rule },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** A value as it appears in a message: on one line, printable, at most 60 characters. */
function shorten(text: string): string {
  const plain = JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"');
  return plain.length > 60 ? `${plain.slice(0, 57)}...` : plain === "" ? '""' : plain;
}
