// Keys of the udp backend. Pure.

import type { BackendKey } from "../../config/backend-key.ts";
import { boolOption, intOption, readBackendOptions } from "../../config/backend-options.ts";
import type { NetworkConfig } from "../../config/network-config.ts";

export const DEFAULT_PORT = 8285;

/** As read: ranges and defaults are those of `udpKeys`. */
export interface UdpOptions {
  readonly port: number;
  readonly checkSource: boolean;
  readonly offload: boolean;
}

export const udpKeys: readonly BackendKey[] = [
  {
    name: "Port",
    type: "int",
    defaultValue: DEFAULT_PORT,
    defaultText: "8285",
    minimum: 1,
    maximum: 65535,
    description:
      "UDP port on every host. The device is `flannel0` with the default port, else `flannel-<Port>`, so that several " +
      "networks can run on one host.",
    live: false,
  },
  {
    name: "CheckSource",
    type: "bool",
    defaultValue: true,
    defaultText: "true",
    description:
      "Accept packets only from hosts with a lease, with an inner source in that host's subnet and an inner " +
      "destination in this host's subnet. Upstream does not have this key and accepts all packets.",
    live: true,
  },
  {
    name: "Offload",
    type: "bool",
    defaultValue: true,
    defaultText: "true",
    description:
      "Use segmentation offloads of the kernel to handle packets in large batches. Packets between hosts are the same.",
    live: true,
  },
];

/** Throws `CONFIG_INVALID` naming key, value and rule. */
export function readUdpOptions(config: NetworkConfig): UdpOptions {
  const options = readBackendOptions(udpKeys, config.backend);
  return Object.freeze({
    port: intOption(options, "Port"),
    checkSource: boolOption(options, "CheckSource"),
    offload: boolOption(options, "Offload"),
  });
}
