// Lets the kernel accept an IPv6 gateway that is on a device of ours although another route leads to it elsewhere: the route
// that is to be replaced, when a peer is no longer reached directly, or a wider one of another program.
import { addressBits, familyOf, makePrefix } from "../../ip/address.ts";
import { FLANNEL_PROTOCOL } from "../../netlink/rtnetlink/messages.ts";
import { deleteRoute, writeRoute } from "../../netlink/rtnetlink/route.ts";
import { rtn } from "../../netlink/uapi.ts";
import { hasErrno } from "../../sys/errno.ts";
import type { Host } from "./kind.ts";
import type { HostRoute } from "./route-form.ts";

/**
 * Whether the kernel may have refused the route for its gateway: with RTNH_F_ONLINK it still looks the gateway up, and
 * answers EINVAL when a route other than the default one leads to it on another device (ip6_route_check_nh_onlink, 6.1).
 */
export function isGatewayRefused({ desired }: { readonly desired: HostRoute | undefined }, error: unknown): boolean {
  if (desired?.gateway === undefined || !desired.onLink || familyOf(desired.gateway) !== 6) return false;
  return hasErrno(error, "EINVAL");
}

/**
 * While `run` writes these routes, each gateway has a route to itself on the device. The old route stays in use until it
 * is replaced, so that no packet is lost.
 */
export async function withGatewayRoutes<T>(
  routes: readonly HostRoute[],
  host: Host,
  signal: AbortSignal,
  run: () => Promise<T>,
): Promise<T> {
  const ways = routes.flatMap(({ gateway, device }) => {
    const link = host.links.byName(device);
    if (gateway === undefined || link === undefined) return [];
    return [
      { destination: makePrefix(gateway, addressBits(familyOf(gateway))), protocol: FLANNEL_PROTOCOL, device: link },
    ];
  });
  const added = await host.netlink.apply(
    ways.map((way) => writeRoute("create", { ...way, onLink: false })),
    signal,
  );
  try {
    return await run();
  } finally {
    const ours = ways.filter((_, index) => added[index] === undefined);
    const requests = ours.map((way) => deleteRoute({ ...way, type: rtn.unicast, scope: 0 }));
    // One that is left behind is a surplus route on a device of ours: the next look removes it.
    await host.netlink.apply(requests, signal);
  }
}
