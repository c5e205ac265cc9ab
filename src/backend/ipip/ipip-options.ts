// Keys of the ipip backend. Pure.
import { invalid } from "../../config/address-pool.ts";
import type { BackendKey } from "../../config/backend-key.ts";
import { boolOption, readBackendOptions } from "../../config/backend-options.ts";
import type { NetworkConfig } from "../../config/network-config.ts";

export interface IpipOptions {
  readonly directRouting: boolean;
}

export const ipipKeys: readonly BackendKey[] = [
  {
    name: "DirectRouting",
    type: "bool",
    defaultValue: false,
    defaultText: "false",
    description: "Plain routes without encapsulation to the hosts on the same link.",
    live: true,
  },
];

/** Throws `CONFIG_INVALID` naming key, value and rule. */
export function readIpipOptions(config: NetworkConfig): IpipOptions {
  const options = readBackendOptions(ipipKeys, config.backend);
  if (config.ipv6 !== undefined) {
    const rule = "must be false with the backend ipip, which carries IPv4 only: choose another backend for IPv6";
    throw invalid("EnableIPv6", true, rule);
  }
  return Object.freeze({ directRouting: boolOption(options, "DirectRouting") });
}
