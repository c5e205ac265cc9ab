// Routes that drop: packets to addresses of our subnet that no container has, which would otherwise leave by the default
// route and come back.
import { familyOf, type Prefix } from "../../ip/address.ts";
import { hostText, isInside } from "../../ip/prefix.ts";
import { FLANNEL_PROTOCOL, type RouteMessage } from "../../netlink/rtnetlink/messages.ts";
import { deleteRoute, type RouteSpec, writeRoute } from "../../netlink/rtnetlink/route.ts";
import { routeTable, rtn } from "../../netlink/uapi.ts";
import { type Change, type Deviation, type Kind, lookAt, type Watch } from "./kind.ts";
import type { Ownership } from "./links.ts";
import { inBatches } from "./programming.ts";
import { routeTables } from "./route-tables.ts";

/**
 * Less preferred than every other route to the same destination, so that a bridge with this very subnet goes before it.
 */
export interface HostBlackhole {
  readonly destination: Prefix;
}

/** Behind all that others write to the same destination. */
const METRIC = 65_535;

export const blackholeKind: Kind<"blackhole", HostBlackhole, HostBlackhole> = {
  name: "blackhole",
  key: ({ destination }) => destination,
  observedKey: ({ destination }) => destination,
  compare: () => "same",
  line: blackholeLine,
  observedLine: blackholeLine,
  source: {
    listing: routeTables,
    open: ({ ownership }) => ({ read: (message: RouteMessage) => observedBlackhole(message, ownership) }),
  },
  notices: { route: deviationOf },
  auditRound: 2,
  program: inBatches({
    write: (blackhole) => writeRoute("set", specOf(blackhole)),
    remove: (blackhole) => deleteRoute(specOf(blackhole)),
    settled: (desired) => desired,
  }),
};

/** As in `ip route`. */
function blackholeLine({ destination }: HostBlackhole): string {
  const device = familyOf(destination) === 6 ? " dev lo" : "";
  return `blackhole ${hostText(destination)}${device} proto ${FLANNEL_PROTOCOL} metric ${METRIC}`;
}

function specOf({ destination }: HostBlackhole): RouteSpec {
  return { destination, type: rtn.blackhole, protocol: FLANNEL_PROTOCOL, metric: METRIC };
}

/** Ours; upstream's have neither number nor metric and are left alone. */
function observedBlackhole(
  message: RouteMessage,
  { ownedNetworks, routeTable: ownTable }: Ownership,
): HostBlackhole | undefined {
  // Of a network with a table of its own there are none; another one may have the same addresses in the main table.
  if (ownTable !== undefined) return undefined;
  const { table, type, protocol, metric, destination } = message;
  const isOurs = type === rtn.blackhole && protocol === FLANNEL_PROTOCOL && metric === METRIC;
  return isOurs && table === routeTable.main && isInside(destination, ownedNetworks) ? { destination } : undefined;
}

function deviationOf({ action, message }: Change<"route">, watch: Watch): Deviation | undefined {
  const blackhole = observedBlackhole(message, watch.host.ownership);
  if (blackhole === undefined) return undefined;
  const slot = watch.host.slots.get(blackholeKind, blackhole.destination);
  const isKnown = slot?.observed !== undefined;
  return isKnown === (action === "new") || watch.isResting(slot) ? undefined : lookAt(blackholeKind);
}
