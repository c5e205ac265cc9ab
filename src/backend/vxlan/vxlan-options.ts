// Keys of the vxlan backend. Pure.
import { invalid } from "../../config/address-pool.ts";
import type { BackendKey } from "../../config/backend-key.ts";
import { boolOption, intOption, readBackendOptions } from "../../config/backend-options.ts";
import type { NetworkConfig } from "../../config/network-config.ts";

/** Ethernet 14 + IP + UDP 8 + VXLAN 8 bytes; the outer IPv6 header is 20 bytes longer than IPv4's (RFC 7348 section 5). */
export const OVERHEAD_BYTES = { 4: 50, 6: 70 } as const;
/** The kernel's, unless its module was given another one; Port 0 stands for it. */
export const DEFAULT_PORT = 8472;
/** Smallest MTU of a link: RFC 791 for IPv4; RFC 8200 for IPv6, below which Linux turns IPv6 off on the device. */
const SMALLEST_MTU_BYTES = { 4: 68, 6: 1280 } as const;

/** As read: ranges and defaults are those of `vxlanKeys`. */
export interface VxlanOptions {
  readonly vni: number;
  readonly port: number;
  readonly gbp: boolean;
  readonly learning: boolean;
  readonly directRouting: boolean;
  /** 0: the external interface's. */
  readonly underlayMtuBytes: number;
}

export const vxlanKeys: readonly BackendKey[] = [
  {
    name: "VNI",
    type: "int",
    defaultValue: 1,
    defaultText: "1",
    maximum: 2 ** 24 - 1,
    description: "VXLAN network identifier; the device is named `flannel.<VNI>` (`flannel-v6.<VNI>` for IPv6).",
    live: false,
  },
  {
    name: "Port",
    type: "int",
    defaultValue: 0,
    defaultText: `0: the kernel's, ${DEFAULT_PORT}`,
    maximum: 65535,
    description: "UDP port of the encapsulated packets.",
    live: false,
  },
  {
    name: "GBP",
    type: "bool",
    defaultValue: false,
    defaultText: "false",
    description: "VXLAN group based policy extension.",
    live: false,
  },
  {
    name: "MTU",
    type: "int",
    defaultValue: 0,
    defaultText: "0: that of the external interface",
    maximum: 65535,
    description:
      "MTU between the hosts. The MTU of containers is 50 lower; IPv6 packets, by device and routes, and containers of a network without IPv4 have 70 less. A value above that of the external " +
      "interface has no effect: the kernel refuses it.",
    live: true,
  },
  {
    name: "Learning",
    type: "bool",
    defaultValue: false,
    defaultText: "false",
    description: "The device learns the hosts of MACs from received packets.",
    live: true,
  },
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
export function readVxlanOptions(config: NetworkConfig): VxlanOptions {
  const options = readBackendOptions(vxlanKeys, config.backend);
  const underlayMtuBytes = intOption(options, "MTU");
  const family = config.ipv6 === undefined ? 4 : 6;
  const smallest = SMALLEST_MTU_BYTES[family] + OVERHEAD_BYTES[family];
  if (underlayMtuBytes !== 0 && underlayMtuBytes < smallest) {
    throw invalid("Backend.MTU", underlayMtuBytes, `must be 0 or at least ${smallest}, which IPv${family} needs`);
  }
  return Object.freeze({
    vni: intOption(options, "VNI"),
    port: intOption(options, "Port"),
    gbp: boolOption(options, "GBP"),
    learning: boolOption(options, "Learning"),
    directRouting: boolOption(options, "DirectRouting"),
    underlayMtuBytes,
  });
}
