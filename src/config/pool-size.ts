// How many subnets a pool of addresses has.
import { addressBits, addressToBigInt, familyOf } from "../ip/address.ts";
import type { AddressPool } from "./network-config.ts";

/** Where there are two, of the family with less room; undefined where there is none. */
export function poolSize(pools: readonly (AddressPool | undefined)[]): number | undefined {
  const sizes = pools.filter((pool) => pool !== undefined).map(subnetsIn);
  return sizes.length === 0 ? undefined : Math.min(...sizes);
}

function subnetsIn({ network, subnetLength, subnetMin, subnetMax }: AddressPool): number {
  const size = 1n << BigInt(addressBits(familyOf(network)) - subnetLength);
  return Number((addressToBigInt(subnetMax) - addressToBigInt(subnetMin)) / size + 1n);
}
