// Which peer a person means: by its lease, its subnet, an address in that, or the public address of its host.
import { type Address, type Prefix, tryParseAddress } from "../../../ip/address.ts";
import { containsAddress } from "../../../ip/prefix.ts";
import { type Lease, prefixesOf } from "../../../lease/lease.ts";

interface NamedPeer {
  readonly key: string;
  readonly subnets: readonly Prefix[];
  readonly publicAddresses: readonly (Address | undefined)[];
}

export function isMeant({ key, subnets, publicAddresses }: NamedPeer, target: string): boolean {
  if (key === target || subnets.some((subnet) => subnet === target)) return true;
  const address = tryParseAddress(target);
  if (address === undefined) return false;
  return publicAddresses.includes(address) || subnets.some((subnet) => containsAddress(subnet, address));
}

export function isMeantLease({ key, attributes: { publicIp, publicIpv6 }, ...lease }: Lease, target: string): boolean {
  return isMeant({ key, subnets: prefixesOf(lease), publicAddresses: [publicIp, publicIpv6] }, target);
}
