// Routes that drop: packets to addresses of our subnet that no container has, which would otherwise leave by the default
// route and come back.
import { familyOf, type Prefix } from "../../ip/address.ts";
import { hostText, isInside } from "../../ip/prefix.ts";
import { FLANNEL_PROTOCOL, type RouteMessage } from "../../netlink/rtnetlink/messages.ts";
import { deleteRoute, type RouteSpec, writeRoute } from "../../netlink/rtnetlink/route.ts";
import { routeTable, rtn } from "../../netlink/uapi.ts";
import { type Change, type Deviation, type Kind, lookAt, type Watch } from "./kind.ts";
import { ISOLATION_TABLE, type Ownership } from "./links.ts";
import { inBatches } from "./programming.ts";
import { routeTables } from "./route-tables.ts";

/**
 * Less preferred than every other route to the same destination, so that a bridge with this very subnet goes before it.
 */
export interface HostBlackhole {
  readonly destination: Prefix;
  /** Missing: the main table. In another one it refuses instead: the sender learns that it is prohibited. */
  readonly table?: typeof ISOLATION_TABLE;
}

/** Behind all that others write to the same destination. */
const METRIC = 65_535;

export const blackholeKind: Kind<"blackhole", HostBlackhole, HostBlackhole> = {
  name: "blackhole",
  key: keyOf,
  observedKey: keyOf,
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

function keyOf({ destination, table }: HostBlackhole): string {
  return table === undefined ? destination : `${destination} table ${table}`;
}

/** As in `ip route`. */
function blackholeLine({ destination, table }: HostBlackhole): string {
  const device = familyOf(destination) === 6 ? " dev lo" : "";
  const [type, place] = table === undefined ? ["blackhole", ""] : ["prohibit", ` table ${table}`];
  return `${type} ${hostText(destination)}${device}${place} proto ${FLANNEL_PROTOCOL} metric ${METRIC}`;
}

function specOf({ destination, table }: HostBlackhole): RouteSpec {
  const place = table === undefined ? { type: rtn.blackhole } : { type: rtn.prohibit, table };
  return { destination, ...place, protocol: FLANNEL_PROTOCOL, metric: METRIC };
}

/** Ours; upstream's have neither number nor metric and are left alone. */
function observedBlackhole(message: RouteMessage, ownership: Ownership): HostBlackhole | undefined {
  const { table, type, protocol, metric, destination } = message;
  const isOurs = protocol === FLANNEL_PROTOCOL && metric === METRIC && isInside(destination, ownership.ownedNetworks);
  // Of a network with a table of its own there are none; another one may have the same addresses in the main table.
  if (!isOurs || ownership.routeTable !== undefined) return undefined;
  if (table === routeTable.main && type === rtn.blackhole) return { destination };
  return table === ISOLATION_TABLE && type === rtn.prohibit ? { destination, table: ISOLATION_TABLE } : undefined;
}

function deviationOf({ action, message }: Change<"route">, watch: Watch): Deviation | undefined {
  const blackhole = observedBlackhole(message, watch.host.ownership);
  if (blackhole === undefined) return undefined;
  const slot = watch.host.slots.get(blackholeKind, keyOf(blackhole));
  const isKnown = slot?.observed !== undefined;
  return isKnown === (action === "new") || watch.isResting(slot) ? undefined : lookAt(blackholeKind);
}
