// Writes and deletes routes, choosing their form: plain, or through a next-hop object.
import { type FlannelError, hasCode } from "../../errors.ts";
import { familyOf } from "../../ip/address.ts";
import type { NetlinkRequest } from "../../netlink/request.ts";
import { FLANNEL_PROTOCOL } from "../../netlink/rtnetlink/messages.ts";
import { deleteNextHop, writeNextHop } from "../../netlink/rtnetlink/next-hop.ts";
import { deleteRoute, writeRoute } from "../../netlink/rtnetlink/route.ts";
import { hasErrno } from "../../sys/errno.ts";
import { defaultMetric, type ObservedRoute, routeProtocol } from "../kinds/host-objects.ts";
import type { HostRoute } from "../kinds/host-state.ts";
import type { HostOperation } from "./diff.ts";
import type { Slot } from "./host-table.ts";
import type { GatewayRoute, NextHopPool } from "./next-hop-pool.ts";
import { isAlreadyGone, missingDevice, type ProgramFailure, type ProgrammerContext } from "./program-context.ts";

const MAX_ID_ATTEMPTS = 4;

interface Attempt {
  readonly slot: Slot<"route">;
  readonly request: NetlinkRequest;
  readonly before: ObservedRoute | undefined;
}

export class RouteProgrammer {
  readonly #context: ProgrammerContext;
  readonly #pool: NextHopPool;
  readonly #ownDevices: ReadonlySet<string>;
  #hasMadeNextHop = false;

  constructor(context: ProgrammerContext, pool: NextHopPool, ownDevices: ReadonlySet<string>) {
    this.#context = context;
    this.#pool = pool;
    this.#ownDevices = ownDevices;
  }

  async program(operations: readonly HostOperation[]): Promise<ProgramFailure[]> {
    const failures: ProgramFailure[] = [];
    const slots = operations.map((operation) => operation.slot as Slot<"route">);
    const throughNextHops = this.#chooseNextHops(slots);
    const refused = await this.#makeNextHops(throughNextHops);
    const attempts: Attempt[] = [];
    for (const slot of slots) {
      const error = slot.desired === undefined ? undefined : refused.get(slot.desired);
      const nextHopId = this.#nextHopIdFor(slot.desired, throughNextHops);
      const request = error === undefined ? this.#requestFor(slot, nextHopId) : undefined;
      if (request === undefined) {
        failures.push({ slot, error: error ?? missingDevice(slot.desired?.device ?? slot.observed?.device) });
        continue;
      }
      const before = slot.observed;
      this.#settle(slot, slot.desired === undefined ? undefined : this.#asObserved(slot.desired, nextHopId));
      attempts.push({ slot, request, before });
    }
    const results = await this.#apply(attempts.map((attempt) => attempt.request));
    for (const [index, error] of results.entries()) {
      const attempt = attempts[index];
      if (attempt === undefined || error === undefined || (await this.#isInPlace(attempt, error))) continue;
      this.#settle(attempt.slot, attempt.before);
      failures.push({ slot: attempt.slot, error });
    }
    return failures;
  }

  /**
   * Whether the error says that all is as wanted. When somebody put a route before ours (`ip route prepend`), the
   * kernel refuses to replace that by a second one like ours: it is enough to take it away.
   */
  async #isInPlace({ slot, before }: Attempt, error: FlannelError): Promise<boolean> {
    if (slot.desired === undefined) return isAlreadyGone(error);
    if (before === undefined || !hasCode(error, "kernel.exists")) return false;
    const [refusal] = await this.#apply([this.#deletion(before)]);
    return refusal === undefined;
  }

  /** Deletes next hops of ours that no route uses. Failures are left for the next time: they do no harm. */
  async removeUnusedNextHops(): Promise<void> {
    const ids = this.#pool.unused();
    for (const id of ids) this.#pool.remove(id);
    await this.#apply(ids.map(deleteNextHop));
  }

  #apply(requests: readonly NetlinkRequest[]): Promise<readonly (FlannelError | undefined)[]> {
    return this.#context.netlink.apply(requests, this.#context.signal);
  }

  #settle(slot: Slot<"route">, observed: ObservedRoute | undefined): void {
    this.#pool.countRoute(slot.observed, -1);
    slot.observed = observed;
    this.#pool.countRoute(observed, 1);
  }

  /** New routes beyond the limit of plain ones; a plain route that only changes stays plain. */
  #chooseNextHops(slots: readonly Slot<"route">[]): ReadonlySet<GatewayRoute> {
    const chosen = new Set<GatewayRoute>();
    const pendingPlain = new Map<string, number>();
    for (const { desired, observed } of slots) {
      if (desired === undefined) continue;
      if (observed?.device === desired.device && observed.nextHopId === undefined) continue;
      const pending = pendingPlain.get(desired.device) ?? 0;
      if (this.#pool.shouldUseNextHop(desired, pending)) chosen.add(desired);
      else pendingPlain.set(desired.device, pending + 1);
    }
    return chosen;
  }

  /** Makes those next hops that are not there; the result has the routes whose next hop failed. */
  async #makeNextHops(routes: ReadonlySet<GatewayRoute>): Promise<ReadonlyMap<HostRoute, FlannelError>> {
    const failed = new Map<HostRoute, FlannelError>();
    let missing = [...routes];
    for (let attempt = 1; missing.length > 0 && attempt <= MAX_ID_ATTEMPTS; attempt++) {
      missing = await this.#tryMakeNextHops(missing, failed);
    }
    return failed;
  }

  /** Returns the routes whose id somebody else had taken meanwhile. */
  async #tryMakeNextHops(
    routes: readonly GatewayRoute[],
    failed: Map<HostRoute, FlannelError>,
  ): Promise<GatewayRoute[]> {
    const attempts: { route: GatewayRoute; id: number; request: NetlinkRequest }[] = [];
    for (const route of routes) {
      const device = this.#context.links.byName(route.device);
      if (device === undefined || this.#pool.idFor(route) !== undefined) continue;
      const id = this.#pool.reserveId(device.index);
      this.#pool.add(id, route);
      const { gateway, onLink } = route;
      attempts.push({
        route,
        id,
        request: writeNextHop("create", { id, device, gateway, onLink, protocol: FLANNEL_PROTOCOL }),
      });
    }
    const taken: GatewayRoute[] = [];
    const results = await this.#apply(attempts.map((attempt) => attempt.request));
    for (const [index, error] of results.entries()) {
      const attempt = attempts[index];
      if (attempt === undefined) continue;
      if (error === undefined) {
        this.#hasMadeNextHop = true;
      } else if (hasCode(error, "kernel.exists")) {
        this.#pool.giveUp(attempt.id);
        taken.push(attempt.route);
      } else {
        this.#pool.remove(attempt.id);
        if (this.#isUnsupported(error)) this.#pool.markUnsupported();
        else failed.set(attempt.route, error);
      }
    }
    return taken;
  }

  /** Kernels before 5.3 answer EOPNOTSUPP, some EINVAL; once one was made, EINVAL is about the one at hand. */
  #isUnsupported(error: FlannelError): boolean {
    return !this.#hasMadeNextHop && (hasCode(error, "kernel.unsupported") || hasErrno(error, "EINVAL"));
  }

  #requestFor(slot: Slot<"route">, nextHopId: number | undefined): NetlinkRequest | undefined {
    const { desired, observed } = slot;
    if (desired === undefined) return observed === undefined ? undefined : this.#deletion(observed);
    const device = this.#context.links.byName(desired.device);
    if (device === undefined) return undefined;
    const { destination, gateway, onLink } = desired;
    const protocol = routeProtocol(desired.device, this.#ownDevices);
    return nextHopId === undefined
      ? writeRoute("set", { destination, device, ...(gateway === undefined ? {} : { gateway }), onLink, protocol })
      : writeRoute("set", { destination, nextHopId, protocol });
  }

  /** Undefined means the plain form: also where the kernel turned out not to know next hops. */
  #nextHopIdFor(route: HostRoute | undefined, throughNextHops: ReadonlySet<HostRoute>): number | undefined {
    return route !== undefined && throughNextHops.has(route) ? this.#pool.idFor(route) : undefined;
  }

  #asObserved(route: HostRoute, nextHopId: number | undefined): ObservedRoute {
    return {
      destination: route.destination,
      device: route.device,
      ...(route.gateway === undefined ? {} : { gateway: route.gateway }),
      onLink: route.onLink,
      protocol: routeProtocol(route.device, this.#ownDevices),
      metric: defaultMetric(familyOf(route.destination)),
      tos: 0,
      type: 1,
      scope: 0,
      ...(nextHopId === undefined ? {} : { nextHopId }),
      isMultipath: false,
      isOurs: true,
    };
  }

  #deletion(route: ObservedRoute): NetlinkRequest {
    const { destination, gateway, protocol, type, scope, nextHopId, metric } = route;
    const device = route.device === undefined ? undefined : this.#context.links.byName(route.device);
    const way =
      nextHopId === undefined
        ? { ...(device === undefined ? {} : { device }), ...(gateway === undefined ? {} : { gateway }) }
        : { nextHopId };
    return deleteRoute({ destination, protocol, type, scope, ...(metric === 0 ? {} : { metric }), ...way });
  }
}
