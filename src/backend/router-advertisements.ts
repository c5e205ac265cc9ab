// Router advertisements must not configure a device of ours. Pure.
import type { HostSysctl } from "../host/kinds/sysctl.ts";

/**
 * `accept_ra` 1, which devices inherit, takes them only where forwarding is off (the kernel's ip-sysctl.rst): a host that
 * forwards needs no write, which a container without privileges could not make.
 */
export function noRouterAdvertisements(device: string): HostSysctl {
  const of = `net/ipv6/conf/${device}`;
  return {
    key: `${of}/accept_ra`,
    value: "0",
    sameAs: [
      { key: `${of}/accept_ra`, value: "1" },
      { key: `${of}/forwarding`, value: "1" },
    ],
  };
}
