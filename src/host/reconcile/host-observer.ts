// Looks at the kernel and puts what it finds into the table, kind by kind.
import {
  MAIN_TABLE,
  type NextHopMessage,
  type ObjectKind,
  type ObjectKinds,
} from "../../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import { readSysctl } from "../../sys/sysctl.ts";
import { type HostKind, kindRules, type Observed, type ObservedRoute } from "../kinds/host-objects.ts";
import type { HostBlackhole } from "../kinds/host-state.ts";
import type { HostTable, Slot } from "./host-table.ts";
import type { NextHopPool } from "./next-hop-pool.ts";
import {
  isFoundAgain,
  type LinkDirectory,
  type Ownership,
  observedAddress,
  observedBlackhole,
  observedFdbEntry,
  observedLink,
  observedNeighbour,
  observedRoute,
  ownDeviceName,
} from "./observed-state.ts";

/** Only routes are judged by whose device they are on. */
const noDevices: ReadonlySet<string> = new Set();

/** Called for each slot whose found side was looked at. */
export type OnLookedAt = <K extends HostKind>(slot: Slot<K>) => void;

export interface HostView {
  readonly netlink: Rtnetlink;
  readonly table: HostTable;
  readonly links: LinkDirectory;
  readonly pool: NextHopPool;
  readonly ownership: Ownership;
}

/** Looks at `kinds`; links are always looked at, since all else hangs on their indexes. */
export async function look(kinds: ReadonlySet<HostKind>, view: HostView, onLookedAt: OnLookedAt): Promise<void> {
  await lookAtLinks(view, onLookedAt);
  if (kinds.has("sysctl")) lookAtSysctls(view, onLookedAt);
  if (kinds.has("address")) await lookOnDevices("address", "address", observedAddress, view, onLookedAt);
  if (kinds.has("neighbour")) await lookOnDevices("neighbour", "neighbour", observedNeighbour, view, onLookedAt);
  if (kinds.has("fdb")) await lookOnDevices("fdb", "fdb", observedFdbEntry, view, onLookedAt);
  if (kinds.has("route") || kinds.has("blackhole")) await lookAtRoutes(view, onLookedAt);
}

async function lookAtLinks({ netlink, table, links, ownership }: HostView, onLookedAt: OnLookedAt): Promise<void> {
  links.replaceAll(await netlink.dump("link"));
  const own = [...links.all()].filter((link) => ownership.ownDevices.has(link.name));
  table.setObserved(
    "link",
    own.map((link) => observedLink(link, links)),
    onLookedAt,
  );
}

function lookAtSysctls({ table }: HostView, onLookedAt: OnLookedAt): void {
  const found: Observed<"sysctl">[] = [];
  for (const { desired } of table.slots("sysctl")) {
    if (desired === undefined) continue;
    const value = readSysctl(desired.key);
    // What this kernel does not have needs no value.
    found.push(value === undefined || value === desired.value ? desired : { key: desired.key, value });
  }
  table.setObserved("sysctl", found, onLookedAt);
}

async function lookOnDevices<K extends "address" | "neighbour" | "fdb", M extends ObjectKind>(
  kind: K,
  messageKind: M,
  read: (message: ObjectKinds[M], links: LinkDirectory, ownership: Ownership) => Observed<K> | undefined,
  { netlink, table, links, ownership }: HostView,
  onLookedAt: OnLookedAt,
): Promise<void> {
  const found: Observed<K>[] = [];
  for (const link of links.all()) {
    if (ownDeviceName(link.index, links, ownership) === undefined) continue;
    const objects = await netlink.dumpAs(messageKind, { index: link.index }, (message) => {
      const object = read(message, links, ownership);
      return object === undefined ? undefined : wantedIfEqual(kind, object, table);
    });
    for (const object of objects) found.push(object);
  }
  table.setObserved(kind, found, onLookedAt);
}

/** Keeps one object in memory instead of two equal ones. */
function wantedIfEqual<K extends "address" | "neighbour" | "fdb">(
  kind: K,
  object: Observed<K>,
  table: HostTable,
): Observed<K> {
  const rules = kindRules[kind];
  const desired = table.get(kind, rules.observedKey(object))?.desired;
  return desired !== undefined && rules.isSatisfied(desired, object, noDevices) ? desired : object;
}

async function lookAtRoutes(
  { netlink, table, links, pool, ownership }: HostView,
  onLookedAt: OnLookedAt,
): Promise<void> {
  const nextHops = await netlink.dump("nextHop");
  let byId: Map<number, NextHopMessage> | undefined;
  const context = {
    links,
    ownership,
    isDesired: (destination: string) => table.get("route", destination)?.desired !== undefined,
    nextHop: (id: number) => {
      byId ??= new Map(nextHops.map((nextHop) => [nextHop.id, nextHop]));
      return byId.get(id);
    },
  };
  const found: ObservedRoute[] = [];
  const blackholes: HostBlackhole[] = [];
  for (const family of [4, 6] as const) {
    const routes = await netlink.dumpAs("route", { table: MAIN_TABLE, family }, (message) => {
      const blackhole = observedBlackhole(message, ownership);
      if (blackhole !== undefined) blackholes.push(blackhole);
      const known = table.get("route", message.destination)?.observed;
      return known !== undefined && isFoundAgain(known, message, context) ? known : observedRoute(message, context);
    });
    for (const route of routes) found.push(route);
  }
  pool.replaceAll(nextHops, found, links, ownership);
  table.setObserved("route", found, onLookedAt);
  table.setObserved("blackhole", blackholes, onLookedAt);
}
