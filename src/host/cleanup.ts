// Removes what flannel left in the kernel: `flannelctl cleanup`. The agent itself never removes anything when it stops.
import type { FlannelError } from "../errors.ts";
import { deleteLink } from "../netlink/link.ts";
import { FLANNEL_PROTOCOL, MAIN_TABLE, type RouteMessage } from "../netlink/messages.ts";
import { deleteNextHop } from "../netlink/next-hop.ts";
import type { Device, NetlinkRequest } from "../netlink/request.ts";
import { deleteRoute } from "../netlink/route.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { isAlreadyGone } from "./program-context.ts";

export interface CleanupScope {
  /** Names the state directory remembers, beside the usual ones; only vxlan devices are taken. */
  readonly devices: readonly string[];
}

export interface CleanupPlan {
  readonly requests: readonly NetlinkRequest[];
  /** What each of them does, for people. */
  readonly lines: readonly string[];
}

const DEVICE_NAME = /^flannel(-v6)?\.\d+$/;

/** All vxlan devices under our names, and all routes and next hops with our protocol number, whichever agent's. */
export async function planCleanup(netlink: Rtnetlink, scope: CleanupScope): Promise<CleanupPlan> {
  const links = await netlink.dump("link");
  const devices = links.filter(
    ({ name, kind }) => kind === "vxlan" && (DEVICE_NAME.test(name) || scope.devices.includes(name)),
  );
  const byIndex = new Map<number, Device>(links.map((link) => [link.index, link]));
  const routes = await netlink.dump("route", { table: MAIN_TABLE, protocol: FLANNEL_PROTOCOL });
  const nextHops = await netlink.dump("nextHop", { protocol: FLANNEL_PROTOCOL });
  const requests = [
    ...routes.map((route) => routeDeletion(route, byIndex)),
    ...nextHops.map((nextHop) => deleteNextHop(nextHop.id)),
    ...devices.map(deleteLink),
  ];
  return { requests, lines: requests.map((request) => request.describe()) };
}

function routeDeletion(route: RouteMessage, byIndex: ReadonlyMap<number, Device>): NetlinkRequest {
  const { destination, protocol, scope, type, metric, gateway, nextHopId, outIndex } = route;
  const device = outIndex === undefined ? undefined : byIndex.get(outIndex);
  const way =
    nextHopId === undefined
      ? { ...(device === undefined ? {} : { device }), ...(gateway === undefined ? {} : { gateway }) }
      : { nextHopId };
  return deleteRoute({ destination, protocol, scope, type, ...(metric === 0 ? {} : { metric }), ...way });
}

/** Carries it out; everything is tried. Returns what the kernel refused; what is gone by now is no error. */
export async function executeCleanup(netlink: Rtnetlink, plan: CleanupPlan): Promise<FlannelError[]> {
  const results = await netlink.apply(plan.requests);
  return results.filter((error) => error !== undefined).filter((error) => !isAlreadyGone(error));
}
