// The addresses a host announces in its lease, one per enabled family. Pure.
import type { NetworkConfig } from "../config/network-config.ts";
import { FlannelError } from "../errors.ts";
import type { Address } from "../ip/address.ts";
import type { LeaseAttributes } from "../lease/lease.ts";
import type { ExternalInterface } from "../underlay/external-interface.ts";

/** Public addresses of the enabled families. Throws `CONFIG_INVALID` when the external interface lacks one. */
export function announcedAddresses(
  config: NetworkConfig,
  external: ExternalInterface,
): Pick<LeaseAttributes, "publicIp" | "publicIpv6"> {
  return {
    ...(config.ipv4 !== undefined && { publicIp: required(external, external.publicIp, "IPv4", "--public-ip") }),
    ...(config.ipv6 !== undefined && {
      publicIpv6: required(external, external.publicIpv6, "IPv6", "--public-ipv6"),
    }),
  };
}

function required(external: ExternalInterface, address: Address | undefined, family: string, flag: string): Address {
  if (address !== undefined) return address;
  throw new FlannelError(
    "CONFIG_INVALID",
    `the network uses ${family}, but the external interface ${external.name} has no ${family} address: ` +
      `add one, choose another interface with --iface, or set ${flag}`,
    { details: { key: `Enable${family}`, value: true, rule: `needs an ${family} address on the external interface` } },
  );
}
