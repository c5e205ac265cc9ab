// Keys of the ipip backend. Pure.
import type { BackendKey } from "../../config/backend-key.ts";
import { boolOption, readBackendOptions } from "../../config/backend-options.ts";
import type { NetworkConfig } from "../../config/network-config.ts";

/** As read: ranges and defaults are those of `ipipKeys`. */
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
  return Object.freeze({ directRouting: boolOption(options, "DirectRouting") });
}
