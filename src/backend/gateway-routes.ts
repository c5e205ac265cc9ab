// Routes with the peer's host as next hop, one object for each reach: what did not change is the same object in the next plan.
import type { HostRoute } from "../host/kinds/route-form.ts";
import type { PeerReach } from "./peer-reach.ts";

export class GatewayRoutes {
  readonly #routes = new WeakMap<PeerReach, HostRoute>();

  /** `onLink`: without asking which network the host is in, as through a tunnel. */
  of(reach: PeerReach, device: string, onLink: boolean): HostRoute {
    const known = this.#routes.get(reach);
    if (known?.device === device && known.onLink === onLink) return known;
    const route = { destination: reach.subnet, device, gateway: reach.publicIp, onLink };
    this.#routes.set(reach, route);
    return route;
  }
}
