// Routes with the peer's host as next hop, one object for each reach: what did not change is the same object in the next plan.
import type { HostRoute } from "../host/kinds/route-form.ts";
import type { PeerReach } from "./peer-reach.ts";

export class PlainRoutes {
  readonly #routes = new WeakMap<PeerReach, HostRoute>();

  /** `device`: the external interface. */
  of(reach: PeerReach, device: string): HostRoute {
    const known = this.#routes.get(reach);
    if (known?.device === device) return known;
    const route = { destination: reach.subnet, device, gateway: reach.publicIp, onLink: false };
    this.#routes.set(reach, route);
    return route;
  }
}
