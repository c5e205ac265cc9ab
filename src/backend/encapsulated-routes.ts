// Routes that say themselves into which packets theirs are put, for a device that serves all peers; one object for each reach, as
// in gateway-routes.ts.
import type { HostRoute } from "../host/kinds/route-form.ts";
import { type Address, prefixAddress } from "../ip/address.ts";
import type { PeerReach } from "./peer-reach.ts";

export interface TunnelEnd {
  readonly device: string;
  /** Source of the outer packets. */
  readonly local: Address;
  /** For packets on the route, where that is less than containers take theirs to be. */
  readonly mtuBytes: number | undefined;
}

export class EncapsulatedRoutes {
  readonly #routes = new WeakMap<PeerReach, HostRoute>();

  /** The next hop stands for the peer, as with vxlan: without one the kernel would keep a neighbour for each container. */
  of(reach: PeerReach, { device, local, mtuBytes }: TunnelEnd): HostRoute {
    const known = this.#routes.get(reach);
    if (known?.device === device && known.encapsulation?.source === local && known.mtuBytes === mtuBytes) return known;
    const route: HostRoute = {
      destination: reach.subnet,
      device,
      gateway: prefixAddress(reach.subnet),
      onLink: true,
      encapsulation: { source: local, destination: reach.publicIp },
      ...(mtuBytes !== undefined && { mtuBytes }),
    };
    this.#routes.set(reach, route);
    return route;
  }
}
