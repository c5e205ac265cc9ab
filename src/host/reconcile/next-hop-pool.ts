// The next-hop objects of ours in the kernel, by gateway, and which ids are taken; also which form a new route takes.
// Plain bookkeeping: what the kernel is told is the programmer's business.
import { type Address, familyOf } from "../../ip/address.ts";
import { FLANNEL_PROTOCOL, type NextHopMessage } from "../../netlink/rtnetlink/messages.ts";
import type { ObservedRoute } from "../kinds/host-objects.ts";
import type { HostRoute } from "../kinds/host-state.ts";
import { type LinkDirectory, type Ownership, ownDeviceName } from "./observed-state.ts";

/**
 * Up to here routes are written exactly as upstream writes them, so that it finds and deletes them. Beyond, N gateways
 * on one device make each insertion O(N) in the kernel (fib_info hash): 10,000 routes 2.3 s, 50,000 87 s; through
 * next-hop objects 0.2 s and 1 s.
 */
const MAX_PLAIN_ROUTES = 1_000;
/** "Fl" in ASCII on top; each device index starts its own block, so that several agents seldom meet. */
const ID_BASE = 0x466c0000;
const IDS_PER_BLOCK = 0x100000;

/** A route that leads to another host, not only out of a device. */
export type GatewayRoute = HostRoute & { readonly gateway: Address };
type Gateway = Pick<GatewayRoute, "device" | "gateway" | "onLink">;

interface NextHop extends Gateway {
  readonly id: number;
  routes: number;
  /** Whether the last look found it. */
  isListed: boolean;
}

export class NextHopPool {
  readonly #byGateway = new Map<string, NextHop>();
  readonly #byId = new Map<number, NextHop>();
  #foreignIds = new Set<number>();
  readonly #plainRoutes = new Map<string, number>();
  readonly #lastId = new Map<number, number>();
  #isSupported = true;
  #isPlainOnly = false;

  /** The kernel refused next-hop objects (before 5.3, or built without): all routes are plain from now on. */
  markUnsupported(): void {
    this.#isSupported = false;
  }

  /** For the return to upstream: all routes are plain from now on. */
  forcePlain(): void {
    this.#isPlainOnly = true;
  }

  /** Replaces everything by what the kernel listed. `routes` are ours, next hops of devices that are not are only counted by those. */
  replaceAll(
    nextHops: readonly NextHopMessage[],
    routes: readonly ObservedRoute[],
    links: LinkDirectory,
    ownership: Ownership,
  ): void {
    this.#plainRoutes.clear();
    this.#foreignIds.clear();
    for (const nextHop of this.#byId.values()) nextHop.isListed = false;
    let usedByUs: ReadonlySet<number | undefined> | undefined;
    const isUsedByUs = (id: number) => {
      usedByUs ??= new Set(routes.filter((route) => route.isOurs).map((route) => route.nextHopId));
      return usedByUs.has(id);
    };
    for (const message of nextHops) {
      const { id, gateway, onLink } = message;
      const device = links.byIndex(message.outIndex)?.name;
      const isOurs =
        message.protocol === FLANNEL_PROTOCOL &&
        !message.isGroup &&
        (ownDeviceName(message.outIndex, links, ownership) !== undefined || isUsedByUs(id));
      if (isOurs && device !== undefined && gateway !== undefined) this.#list(id, { device, gateway, onLink });
      else this.#foreignIds.add(id);
    }
    for (const { id, isListed } of this.#byId.values()) if (!isListed) this.remove(id);
    for (const route of routes) this.countRoute(route, 1);
  }

  /** As `add`, but keeps the object it had, when nothing changed. */
  #list(id: number, { device, gateway, onLink }: Gateway): void {
    const known = this.#byId.get(id);
    if (known?.gateway === gateway && known.device === device && known.onLink === onLink) {
      known.routes = 0;
      known.isListed = true;
    } else {
      this.remove(id);
      this.add(id, { device, gateway, onLink });
    }
  }

  /** Keeps count of routes by form; `change` is 1 when one appears and -1 when it goes. */
  countRoute(route: ObservedRoute | undefined, change: 1 | -1): void {
    if (route === undefined) return;
    if (route.nextHopId !== undefined) {
      const nextHop = this.#byId.get(route.nextHopId);
      if (nextHop !== undefined) nextHop.routes += change;
    } else if (route.device !== undefined && route.gateway !== undefined && familyOf(route.gateway) === 4) {
      this.#plainRoutes.set(route.device, (this.#plainRoutes.get(route.device) ?? 0) + change);
    }
  }

  /** IPv6 has no such limit and stays plain. `pending` are routes of this device about to be written plainly. */
  shouldUseNextHop(route: HostRoute, pending: number): route is GatewayRoute {
    if (route.gateway === undefined || !this.#isSupported || this.#isPlainOnly || familyOf(route.destination) === 6)
      return false;
    return (this.#plainRoutes.get(route.device) ?? 0) + pending >= MAX_PLAIN_ROUTES;
  }

  has(id: number): boolean {
    return this.#byId.has(id);
  }

  idFor(route: HostRoute): number | undefined {
    if (route.gateway === undefined) return undefined;
    return this.#byGateway.get(gatewayKey(route))?.id;
  }

  /** An id nobody had when we last looked. */
  reserveId(deviceIndex: number): number {
    const block = ID_BASE + (deviceIndex % 64) * IDS_PER_BLOCK;
    let id = (this.#lastId.get(block) ?? block) + 1;
    while (this.#foreignIds.has(id) || this.#byId.has(id)) id++;
    this.#lastId.set(block, id);
    return id;
  }

  add(id: number, { device, gateway, onLink }: Gateway): void {
    const nextHop: NextHop = { id, device, gateway, onLink, routes: 0, isListed: true };
    this.#byId.set(id, nextHop);
    this.#byGateway.set(gatewayKey(nextHop), nextHop);
  }

  /** Somebody else took the id since we last looked. */
  giveUp(id: number): void {
    this.remove(id);
    this.#foreignIds.add(id);
  }

  remove(id: number): void {
    const nextHop = this.#byId.get(id);
    if (nextHop === undefined) return;
    this.#byId.delete(id);
    const key = gatewayKey(nextHop);
    if (this.#byGateway.get(key) === nextHop) this.#byGateway.delete(key);
  }

  /** Ours without a route. */
  unused(): number[] {
    const ids: number[] = [];
    for (const nextHop of this.#byId.values()) if (nextHop.routes <= 0) ids.push(nextHop.id);
    return ids;
  }
}

function gatewayKey({ device, gateway, onLink }: Pick<HostRoute, "device" | "gateway" | "onLink">): string {
  return `${device} ${gateway}${onLink ? " onlink" : ""}`;
}
