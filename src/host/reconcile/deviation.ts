// Decides whether a notification of the kernel tells of something that is not as we left it. The kernel also reports
// our own changes: those find the table as they say.
import type { LinkMessage } from "../../netlink/rtnetlink/messages.ts";
import type { MonitorMessage } from "../../netlink/rtnetlink/monitor.ts";
import { type HostKind, hostKinds, kindRules } from "../kinds/host-objects.ts";
import type { AnySlot, HostTable } from "./host-table.ts";
import type { NextHopPool } from "./next-hop-pool.ts";
import {
  type LinkDirectory,
  type Ownership,
  observedAddress,
  observedBlackhole,
  observedFdbEntry,
  observedNeighbour,
  observedRoute,
  ownDeviceName,
} from "./observed-state.ts";

export interface DeviationContext {
  readonly table: HostTable;
  readonly links: LinkDirectory;
  readonly pool: NextHopPool;
  readonly ownership: Ownership;
  /** Devices that are not ours but on which we depend: underlay and those our routes lead out of. */
  readonly watchedDevices: ReadonlySet<string>;
  /** Slots that are not to be looked at now, because somebody fights us over them. */
  isResting(slot: AnySlot): boolean;
}

export interface Deviation {
  readonly kinds: readonly HostKind[];
  /** What failed before may succeed now: links or addresses we depend on changed. */
  readonly isNewChance: boolean;
}

const NUD_PERMANENT = 0x80;
const everything: Deviation = { kinds: hostKinds, isNewChance: true };

/** Undefined when everything is as we know it, or none of our business. Keeps the directory of links up to date. */
export function deviationOf(change: MonitorMessage, context: DeviationContext): Deviation | undefined {
  switch (change.kind) {
    case "link":
      return linkDeviation(change.action, change.message, context);
    case "address":
      return addressDeviation(change, context);
    case "route":
      return routeDeviation(change, context);
    case "neighbour":
      return neighbourDeviation(change, context);
    case "fdb":
      return fdbDeviation(change, context);
    case "nextHop":
      return change.action === "delete" && context.pool.has(change.message.id) ? lookAt("route") : undefined;
  }
}

type Change<K extends MonitorMessage["kind"]> = Extract<MonitorMessage, { kind: K }>;

function linkDeviation(
  action: "new" | "delete",
  message: LinkMessage,
  { table, links, ownership, watchedDevices, isResting }: DeviationContext,
): Deviation | undefined {
  const known = links.byIndex(message.index);
  const isMine = [message.name, known?.name ?? message.name].some((name) => ownership.ownDevices.has(name));
  const isWatched = [message.name, known?.name ?? message.name].some((name) => watchedDevices.has(name));
  if (!isMine && !isWatched) {
    if (action === "delete") links.delete(message);
    else links.set(message);
    return undefined;
  }
  const slot = table.get("link", message.name);
  if (slot !== undefined && isResting(slot)) return undefined;
  if (action === "delete") return known === undefined ? undefined : everything;
  return known !== undefined && isSameLink(known, message, isMine) ? undefined : everything;
}

function isSameLink(known: LinkMessage, now: LinkMessage, isMine: boolean): boolean {
  if (known.name !== now.name || known.isUp !== now.isUp) return false;
  if (!isMine) return true;
  return (
    known.kind === now.kind &&
    known.mac === now.mac &&
    known.mtuBytes === now.mtuBytes &&
    JSON.stringify(known.vxlan) === JSON.stringify(now.vxlan)
  );
}

function addressDeviation({ action, message }: Change<"address">, context: DeviationContext): Deviation | undefined {
  const { table, links, ownership, watchedDevices } = context;
  const address = observedAddress(message, links, ownership);
  if (address === undefined) {
    const name = links.byIndex(message.index)?.name;
    const isWatched = name !== undefined && watchedDevices.has(name);
    // The last address of a device takes its routes along without a notification.
    return isWatched ? { kinds: ["route"], isNewChance: true } : undefined;
  }
  const slot = table.get("address", kindRules.address.key(address));
  const isKnown = slot?.observed !== undefined;
  if ((action === "new") === isKnown || isRestingSlot(slot, context)) return undefined;
  return lookAt("address", "route");
}

function routeDeviation({ action, message }: Change<"route">, context: DeviationContext): Deviation | undefined {
  const { table, links, ownership } = context;
  const blackhole = observedBlackhole(message, ownership);
  if (blackhole !== undefined) {
    const slot = table.get("blackhole", blackhole.destination);
    const isKnown = slot?.observed !== undefined;
    return isKnown === (action === "new") || isRestingSlot(slot, context) ? undefined : lookAt("blackhole");
  }
  const route = observedRoute(message, {
    links,
    ownership,
    isDesired: (destination) => table.get("route", destination)?.desired !== undefined,
    nextHop: () => undefined,
  });
  if (route === undefined) return undefined;
  const slot = table.get("route", kindRules.route.observedKey(route));
  if (isRestingSlot(slot, context)) return undefined;
  const known = slot?.observed;
  const isSame =
    known !== undefined &&
    known.type === route.type &&
    known.protocol === route.protocol &&
    known.nextHopId === route.nextHopId &&
    (route.nextHopId !== undefined ||
      (known.gateway === route.gateway && known.device === route.device && known.onLink === route.onLink));
  return isSame === (action === "new") ? undefined : lookAt("route");
}

function neighbourDeviation(
  { action, message }: Change<"neighbour">,
  context: DeviationContext,
): Deviation | undefined {
  const { table, links, ownership } = context;
  const device = ownDeviceName(message.index, links, ownership);
  if (device === undefined) return undefined;
  const slot = table.get("neighbour", kindRules.neighbour.key({ device, address: message.address, mac: "" }));
  if (isRestingSlot(slot, context)) return undefined;
  if (action === "delete" || (message.state & NUD_PERMANENT) === 0) {
    return slot?.observed === undefined ? undefined : lookAt("neighbour");
  }
  const neighbour = observedNeighbour(message, links, ownership);
  return neighbour === undefined || slot?.observed?.mac === neighbour.mac ? undefined : lookAt("neighbour");
}

function fdbDeviation({ action, message }: Change<"fdb">, context: DeviationContext): Deviation | undefined {
  const { table, links, ownership } = context;
  const entry = observedFdbEntry(message, links, ownership);
  if (entry === undefined) return undefined;
  const slot = table.get("fdb", kindRules.fdb.key(entry));
  if (isRestingSlot(slot, context)) return undefined;
  const isKnown = slot?.observed?.destination === entry.destination;
  return isKnown === (action === "new") ? undefined : lookAt("fdb");
}

function isRestingSlot(slot: AnySlot | undefined, context: DeviationContext): boolean {
  return slot !== undefined && context.isResting(slot);
}

function lookAt(...kinds: HostKind[]): Deviation {
  return { kinds, isNewChance: false };
}
