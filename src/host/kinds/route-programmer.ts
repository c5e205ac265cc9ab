// Writes and deletes routes, choosing their form: plain, or through a next-hop object.
import { FlannelError, hasCode } from "../../errors.ts";
import { familyOf } from "../../ip/address.ts";
import type { NetlinkRequest, WriteMode } from "../../netlink/request.ts";
import { deleteRoute, writeRoute } from "../../netlink/rtnetlink/route.ts";
import { encapsulationText } from "../../netlink/rtnetlink/route-encapsulation.ts";
import { routeProtocol, rtn } from "../../netlink/uapi.ts";
import { isGatewayRefused, withGatewayRoutes } from "./gateway-route.ts";
import type { Host, Operation, ProgramFailure, Slot } from "./kind.ts";
import { missingDevice, tableOf } from "./links.ts";
import { makeNextHops, NextHops } from "./next-hop.ts";
import { isAlreadyGone } from "./programming.ts";
import {
  connectedRefusal,
  defaultMetric,
  type HostRoute,
  type ObservedRoute,
  protocolOn,
  scopeOf,
} from "./route-form.ts";

type RouteSlot = Slot<HostRoute, ObservedRoute>;
type GatewayRoute = HostRoute & Required<Pick<HostRoute, "gateway">>;

interface Attempt {
  readonly slot: RouteSlot;
  readonly request: NetlinkRequest;
  readonly before: ObservedRoute | undefined;
  readonly nextHopId: number | undefined;
}

export async function programRoutes(
  operations: readonly Operation<HostRoute, ObservedRoute>[],
  host: Host,
  signal: AbortSignal,
): Promise<ProgramFailure[]> {
  const slots = operations.map(({ slot }) => slot);
  const failures = await programOnce(slots, host, signal);
  const refused = slots.filter((slot) =>
    failures.some((one) => one.slot === slot && isGatewayRefused(slot, one.error)),
  );
  if (refused.length === 0) return failures;
  const others = failures.filter((failure) => !refused.some((slot) => slot === failure.slot));
  const routes = refused.flatMap(({ desired }) => desired ?? []);
  const again = await withGatewayRoutes(routes, host, signal, () => programOnce(refused, host, signal));
  return [...others, ...again];
}

/** The requests, in the order of the slots, which say from here on what the requests will have done. */
function prepare(
  slots: readonly RouteSlot[],
  throughNextHops: ReadonlySet<HostRoute>,
  refused: ReadonlyMap<HostRoute, FlannelError>,
  host: Host,
): { readonly attempts: readonly Attempt[]; readonly failures: ProgramFailure[] } {
  const pool = host.memory.of(NextHops);
  const attempts: Attempt[] = [];
  const failures: ProgramFailure[] = [];
  for (const slot of slots) {
    const { desired, observed: before } = slot;
    const error = desired === undefined ? undefined : refused.get(desired);
    // Undefined means the plain form: also where the kernel turned out not to know next hops.
    const nextHopId = isAmong(desired, throughNextHops) ? pool.idFor(desired) : undefined;
    // A look that found nothing may be old by now: what was made since then is not replaced unseen.
    const mode = before === undefined ? "create" : "set";
    const request = error === undefined ? requestFor(slot, nextHopId, mode, host) : undefined;
    if (request === undefined) {
      failures.push({ slot, error: error ?? missingDevice(desired?.device ?? before?.device) });
      continue;
    }
    settle(slot, desired === undefined ? undefined : asObserved(desired, nextHopId, host), pool);
    attempts.push({ slot, request, before, nextHopId });
  }
  return { attempts, failures };
}

async function programOnce(slots: readonly RouteSlot[], host: Host, signal: AbortSignal): Promise<ProgramFailure[]> {
  const pool = host.memory.of(NextHops);
  const throughNextHops = chooseNextHops(slots, pool);
  const refused = await makeNextHops(throughNextHops, host, signal);
  const { attempts, failures } = prepare(slots, throughNextHops, refused, host);
  const results = await host.netlink.apply(
    attempts.map(({ request }) => request),
    signal,
  );
  const unseen: Attempt[] = [];
  for (const [index, error] of results.entries()) {
    const attempt = attempts[index];
    if (attempt === undefined || error === undefined || (await isInPlace(attempt, error, host, signal))) continue;
    settle(attempt.slot, attempt.before, pool);
    if (isUnseen(attempt, error)) unseen.push(attempt);
    else failures.push({ slot: attempt.slot, error });
  }
  return [...failures, ...(await writeOver(unseen, host, signal))];
}

/** Since the look another program made routes where ours belong: they are replaced, unless the kernel made them for an interface. */
async function writeOver(attempts: readonly Attempt[], host: Host, signal: AbortSignal): Promise<ProgramFailure[]> {
  if (attempts.length === 0) return [];
  const pool = host.memory.of(NextHops);
  const filter = { table: tableOf(host.ownership), protocol: routeProtocol.kernel };
  const plain = (await host.netlink.dump("route", filter)).filter(
    ({ family, metric }) => metric === defaultMetric(family),
  );
  const connected = new Map(plain.map((route) => [route.destination, route]));
  const failures: ProgramFailure[] = [];
  for (const { slot, nextHopId } of attempts) {
    const { desired } = slot;
    if (desired === undefined) continue;
    const found = connected.get(desired.destination);
    const device = host.links.byIndex(found?.outIndex)?.name;
    if (found !== undefined && !host.ownership.ownDevices.has(device ?? "")) {
      const message = connectedRefusal({ destination: desired.destination, device });
      failures.push({ slot, error: new FlannelError("KERNEL_EXISTS", message, { retryable: true }) });
      continue;
    }
    const request = requestFor(slot, nextHopId, "set", host);
    const [error] =
      request === undefined ? [missingDevice(desired.device)] : await host.netlink.apply([request], signal);
    if (error === undefined) settle(slot, asObserved(desired, nextHopId, host), pool);
    else failures.push({ slot, error });
  }
  return failures;
}

function isAmong(route: HostRoute | undefined, routes: ReadonlySet<HostRoute>): route is HostRoute {
  return route !== undefined && routes.has(route);
}

/** Whether a route that no look has found stands in the place of a new one. */
function isUnseen({ slot, before }: Attempt, error: FlannelError): boolean {
  return slot.desired !== undefined && before === undefined && hasCode(error, "KERNEL_EXISTS");
}

/**
 * Whether the error says that all is as wanted. When another route was put before ours (`ip route prepend`), the
 * kernel refuses to replace that by a second one like ours: it is enough to take it away.
 */
async function isInPlace(
  { slot, before }: Attempt,
  error: FlannelError,
  host: Host,
  signal: AbortSignal,
): Promise<boolean> {
  if (slot.desired === undefined) return isAlreadyGone(error);
  if (before === undefined || !hasCode(error, "KERNEL_EXISTS")) return false;
  const [refusal] = await host.netlink.apply([deletion(before, host)], signal);
  return refusal === undefined;
}

function settle(slot: RouteSlot, observed: ObservedRoute | undefined, pool: NextHops): void {
  pool.countRoute(slot.observed, -1);
  slot.observed = observed;
  pool.countRoute(observed, 1);
}

/** New routes beyond the limit of plain ones; a plain route that only changes stays plain. */
function chooseNextHops(slots: readonly RouteSlot[], pool: NextHops): ReadonlySet<GatewayRoute> {
  const chosen = new Set<GatewayRoute>();
  const pendingPlain = new Map<string, number>();
  for (const { desired, observed } of slots) {
    if (desired === undefined) continue;
    if (observed?.device === desired.device && observed.nextHopId === undefined) continue;
    const pending = pendingPlain.get(desired.device) ?? 0;
    if (pool.shouldUseNextHop(desired, pending)) chosen.add(desired);
    else pendingPlain.set(desired.device, pending + 1);
  }
  return chosen;
}

function requestFor(
  { desired, observed }: RouteSlot,
  nextHopId: number | undefined,
  mode: WriteMode,
  host: Host,
): NetlinkRequest | undefined {
  if (desired === undefined) return observed === undefined ? undefined : deletion(observed, host);
  const device = host.links.byName(desired.device);
  if (device === undefined) return undefined;
  const { destination, gateway, onLink, mtuBytes, encapsulation } = desired;
  const protocol = protocolOn(desired.device, host.ownership.ownDevices);
  const scope = scopeOf(desired);
  const same = {
    destination,
    protocol,
    table: tableOf(host.ownership),
    ...(scope !== 0 && { scope }),
    ...(mtuBytes === undefined ? {} : { mtuBytes }),
    ...(encapsulation === undefined ? {} : { encapsulation }),
  };
  return nextHopId === undefined
    ? writeRoute(mode, { ...same, device, ...(gateway === undefined ? {} : { gateway }), onLink })
    : writeRoute(mode, { ...same, nextHopId });
}

function asObserved(route: HostRoute, nextHopId: number | undefined, { ownership }: Host): ObservedRoute {
  return {
    destination: route.destination,
    device: route.device,
    ...(route.gateway === undefined ? {} : { gateway: route.gateway }),
    onLink: route.onLink,
    ...(route.mtuBytes === undefined ? {} : { mtuBytes: route.mtuBytes }),
    ...(route.encapsulation === undefined ? {} : { encapsulation: encapsulationText(route.encapsulation) }),
    protocol: protocolOn(route.device, ownership.ownDevices),
    metric: defaultMetric(familyOf(route.destination)),
    tos: 0,
    type: rtn.unicast,
    scope: scopeOf(route),
    ...(nextHopId === undefined ? {} : { nextHopId }),
    isMultipath: false,
    isOurs: true,
  };
}

function deletion(route: ObservedRoute, { links, ownership }: Host): NetlinkRequest {
  const { destination, gateway, protocol, type, scope, nextHopId, metric } = route;
  const device = route.device === undefined ? undefined : links.byName(route.device);
  const way =
    nextHopId === undefined
      ? { ...(device === undefined ? {} : { device }), ...(gateway === undefined ? {} : { gateway }) }
      : { nextHopId };
  const table = route.strayTable ?? tableOf(ownership);
  return deleteRoute({ destination, table, protocol, type, scope, ...(metric === 0 ? {} : { metric }), ...way });
}
