// What the choice of the external interface is made from: the options of the operator and the lists of the kernel.
import type { Address } from "../ip/address.ts";
import type { AddressMessage, LinkMessage, RouteMessage } from "../netlink/rtnetlink/messages.ts";
import type { FamilySet } from "./external-interface.ts";

/** As given on the command line; texts unchecked. */
export interface InterfaceOptions {
  /** The families the network uses. */
  readonly families: FamilySet;
  /** `--iface`: names or addresses, in order of preference. */
  readonly interfaces: readonly string[];
  /** `--iface-regex`, Go syntax. */
  readonly interfaceRegexes: readonly string[];
  /** `--iface-can-reach`. */
  readonly canReach?: string;
  readonly publicIp?: string;
  readonly publicIpv6?: string;
  /** Addresses that this host announced before: taken before all others of the chosen interface. */
  readonly remembered?: ReadonlySet<Address>;
  /** Names of the overlay's own devices: no packet reaches another host through them. */
  readonly overlayDevices?: readonly string[];
}

/** What the kernel told, in its order. */
export interface InterfaceFacts {
  readonly links: readonly LinkMessage[];
  readonly addresses: readonly AddressMessage[];
  /** Of the main table. */
  readonly routes: readonly RouteMessage[];
  /** The kernel's answer for `canReach`; missing when it has no route there. */
  readonly reach?: { readonly outIndex: number; readonly preferredSource?: Address };
}
