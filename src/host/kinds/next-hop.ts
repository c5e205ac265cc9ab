// Next-hop objects of ours: which there are, which ids are taken, which routes go through them, how they are made and
// removed. No kind of the list: no planner wants one and none is shown; it is a form in which routes are written.
import { type FlannelError, hasCode } from "../../errors.ts";
import { type Address, familyOf, type Prefix } from "../../ip/address.ts";
import type { NetlinkRequest } from "../../netlink/request.ts";
import { FLANNEL_PROTOCOL, type NextHopMessage } from "../../netlink/rtnetlink/messages.ts";
import { deleteNextHop, writeNextHop } from "../../netlink/rtnetlink/next-hop.ts";
import { hasErrno } from "../../sys/errno.ts";
import type { Change, Host } from "./kind.ts";
import { ownDeviceName } from "./links.ts";

/**
 * Up to here routes are written exactly as upstream writes them, so that it finds and deletes them. Beyond, N gateways
 * on one device make each insertion O(N) in the kernel (fib_info hash): 10,000 routes 2.3 s, 50,000 87 s; through
 * next-hop objects 0.2 s and 1 s.
 */
const MAX_PLAIN_ROUTES = 1_000;
/** "Fl" in ASCII on top; each device index starts its own block, so that several agents seldom meet. */
const ID_BASE = 0x466c0000;
const IDS_PER_BLOCK = 0x100000;

const MAX_ID_ATTEMPTS = 4;

/** What matters of a wanted route here. */
interface RouteWay {
  readonly destination: Prefix;
  readonly device: string;
  readonly gateway?: Address;
  readonly onLink: boolean;
}

/** What matters of a route in the kernel here. */
interface RouteForm {
  readonly device?: string;
  readonly gateway?: Address;
  readonly nextHopId?: number;
  readonly isOurs: boolean;
}

type Gateway = Pick<RouteWay, "device" | "onLink"> & { readonly gateway: Address };

interface NextHop extends Gateway {
  readonly id: number;
  routes: number;
  /** Whether the last look found it. */
  isListed: boolean;
}

/** The bookkeeping of one host; the functions below say what the kernel gets. */
export class NextHops {
  readonly #byGateway = new Map<string, NextHop>();
  readonly #byId = new Map<number, NextHop>();
  #foreignIds = new Set<number>();
  readonly #plainRoutes = new Map<string, number>();
  readonly #lastId = new Map<number, number>();
  /** Of next-hop objects in this kernel (Linux 5.3); `unknown` until one was made or refused. */
  #support: "unknown" | "present" | "absent" = "unknown";
  /** Whatever the kernel has. */
  #isPlainOnly = false;

  markMade(): void {
    if (this.#support === "unknown") this.#support = "present";
  }

  /**
   * Whether the kernel refused next-hop objects as such; all routes are plain from then on. Before 5.3 it answers
   * EOPNOTSUPP, some builds EINVAL; once one was made, EINVAL is about the one at hand.
   */
  isUnsupported(error: FlannelError): boolean {
    const isUnknown =
      this.#support !== "present" && (hasCode(error, "KERNEL_UNSUPPORTED") || hasErrno(error, "EINVAL"));
    if (isUnknown) this.#support = "absent";
    return isUnknown;
  }

  /** For the return to upstream: all routes are plain from now on. */
  forcePlain(): void {
    this.#isPlainOnly = true;
  }

  /** Replaces everything by what the kernel listed. `routes` are ours, next hops of devices that are not are only counted by those. */
  replaceAll(nextHops: readonly NextHopMessage[], routes: readonly RouteForm[], { links, ownership }: Host): void {
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
  countRoute(route: RouteForm | undefined, change: 1 | -1): void {
    if (route === undefined) return;
    if (route.nextHopId !== undefined) {
      const nextHop = this.#byId.get(route.nextHopId);
      if (nextHop !== undefined) nextHop.routes += change;
    } else if (route.device !== undefined && route.gateway !== undefined && familyOf(route.gateway) === 4) {
      this.#plainRoutes.set(route.device, (this.#plainRoutes.get(route.device) ?? 0) + change);
    }
  }

  /** IPv6 has no such limit and stays plain. `pending` are routes of this device about to be written plainly. */
  shouldUseNextHop<R extends RouteWay>(route: R, pending: number): route is R & Gateway {
    if (route.gateway === undefined || familyOf(route.destination) === 6) return false;
    if (this.#support === "absent" || this.#isPlainOnly) return false;
    return (this.#plainRoutes.get(route.device) ?? 0) + pending >= MAX_PLAIN_ROUTES;
  }

  has(id: number): boolean {
    return this.#byId.has(id);
  }

  idFor({ device, gateway, onLink }: RouteWay): number | undefined {
    if (gateway === undefined) return undefined;
    return this.#byGateway.get(gatewayKey({ device, gateway, onLink }))?.id;
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

  /** Another program took the id since the last look. */
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

function gatewayKey({ device, gateway, onLink }: Gateway): string {
  return `${device} ${gateway}${onLink ? " onlink" : ""}`;
}

/** Makes those next hops that are not there; the result has the routes whose next hop failed. */
export async function makeNextHops<R extends RouteWay & Gateway>(
  routes: Iterable<R>,
  host: Host,
  signal: AbortSignal,
): Promise<ReadonlyMap<RouteWay, FlannelError>> {
  const failed = new Map<RouteWay, FlannelError>();
  let missing = [...routes];
  for (let attempt = 1; missing.length > 0 && attempt <= MAX_ID_ATTEMPTS; attempt++) {
    missing = await tryMakeNextHops(missing, failed, host, signal);
  }
  return failed;
}

/** Returns the routes whose id another program had taken meanwhile. */
async function tryMakeNextHops<R extends RouteWay & Gateway>(
  routes: readonly R[],
  failed: Map<RouteWay, FlannelError>,
  { netlink, links, memory }: Host,
  signal: AbortSignal,
): Promise<R[]> {
  const pool = memory.of(NextHops);
  const attempts: { route: R; id: number; request: NetlinkRequest }[] = [];
  for (const route of routes) {
    const device = links.byName(route.device);
    if (device === undefined || pool.idFor(route) !== undefined) continue;
    const id = pool.reserveId(device.index);
    pool.add(id, route);
    const { gateway, onLink } = route;
    const nextHop = { id, device, gateway, onLink, protocol: FLANNEL_PROTOCOL };
    attempts.push({ route, id, request: writeNextHop("create", nextHop) });
  }
  const taken: R[] = [];
  const results = await netlink.apply(
    attempts.map(({ request }) => request),
    signal,
  );
  for (const [index, error] of results.entries()) {
    const attempt = attempts[index];
    if (attempt === undefined) continue;
    if (error === undefined) {
      pool.markMade();
    } else if (hasCode(error, "KERNEL_EXISTS")) {
      pool.giveUp(attempt.id);
      taken.push(attempt.route);
    } else {
      pool.remove(attempt.id);
      if (!pool.isUnsupported(error)) failed.set(attempt.route, error);
    }
  }
  return taken;
}

/** Deletes next hops of ours that no route uses. Failures are left for the next time: they do no harm. */
export async function removeUnusedNextHops({ netlink, memory }: Host, signal: AbortSignal): Promise<void> {
  const pool = memory.of(NextHops);
  const ids = pool.unused();
  for (const id of ids) pool.remove(id);
  await netlink.apply(ids.map(deleteNextHop), signal);
}

/** Whether a notification tells that one of ours is gone, and with it its routes. */
export function isNextHopLost({ action, message }: Change<"nextHop">, { memory }: Host): boolean {
  return action === "delete" && memory.of(NextHops).has(message.id);
}
