// What has to be done so that the host becomes what is wanted: operations in the order they may be applied. Pure.
import { familyOf } from "../../ip/address.ts";
import {
  type Desired,
  desiredLine,
  foreignLinkReason,
  type HostKind,
  hostKinds,
  kindRules,
  linkChanges,
  type Observed,
  OWN_LINK_KINDS,
  observedLine,
} from "../kinds/host-objects.ts";
import type { HostState } from "../kinds/host-state.ts";
import { type AnySlot, HostTable, type ObservedState, type Slot } from "./host-table.ts";

export interface DiffOptions {
  /** False before the first full snapshot of leases: nothing is removed. */
  readonly prune: boolean;
  /** Names of the devices that are ours; of their kind, as far as they exist. */
  readonly ownDevices: ReadonlySet<string>;
}

/**
 * `replace` changes an object in place, without a moment in which it is missing. `recreate` (links only) deletes and
 * makes anew, and with it goes everything on it. `refuse`: what stands there is not ours, `reason` says what to do.
 */
export interface HostOperation {
  readonly action: "add" | "replace" | "recreate" | "remove" | "refuse";
  readonly slot: AnySlot;
  readonly reason?: string;
}

/** Additions from the link up, then removals from the route down. */
export function diff(observed: ObservedState, desired: HostState, options: DiffOptions): HostOperation[] {
  const table = new HostTable();
  table.setDesired(desired);
  for (const kind of hostKinds) setObservedKind(table, kind, observed);
  const additions: HostOperation[] = [];
  const removals: HostOperation[] = [];
  for (const kind of hostKinds) {
    for (const slot of table.slots(kind)) {
      const operation = operationFor(slot as AnySlot, table, options);
      if (operation === undefined) continue;
      if (operation.action === "remove") removals.unshift(operation);
      else additions.push(operation);
      if (slot.kind === "link") forgetWhatGoesWith(table, slot as Slot<"link">, operation);
    }
  }
  return [...additions, ...removals];
}

function setObservedKind<K extends HostKind>(table: HostTable, kind: K, observed: ObservedState): void {
  table.setObserved(kind, observed[kind], () => undefined);
}

/** What a link operation takes along has to be put back by the operations that follow. */
function forgetWhatGoesWith(table: HostTable, link: Slot<"link">, operation: HostOperation): void {
  const isGone = operation.action === "recreate" || operation.action === "remove";
  const losesNeighbours =
    operation.action === "replace" &&
    link.desired !== undefined &&
    link.observed !== undefined &&
    linkChanges(link.desired, link.observed).includes("mac"); // neigh_changeaddr() flushes the permanent ones too
  if (isGone) for (const kind of ["address", "neighbour", "fdb", "route"] as const) forgetOn(table, kind, link.key);
  else if (losesNeighbours) forgetOn(table, "neighbour", link.key);
}

function forgetOn(table: HostTable, kind: "address" | "neighbour" | "fdb" | "route", device: string): void {
  for (const slot of table.slots(kind)) if (slot.observed?.device === device) slot.observed = undefined;
}

/** The operation that brings one slot in order; undefined when it is, or when it is not for us to touch. */
export function operationFor(slot: AnySlot, table: HostTable, options: DiffOptions): HostOperation | undefined {
  if (slot.desired === undefined) {
    return options.prune && isRemovable(slot, table) ? { action: "remove", slot } : undefined;
  }
  if (slot.observed === undefined) return { action: "add", slot };
  if (slot.kind === "link") {
    const reason = foreignLinkReason(slot.desired, slot.observed);
    if (reason !== undefined) return { action: "refuse", slot, reason };
    const changes = linkChanges(slot.desired, slot.observed);
    if (changes.includes("identity")) return { action: "recreate", slot };
    return changes.length > 0 ? { action: "replace", slot } : undefined;
  }
  return isSatisfied(slot, options.ownDevices) ? undefined : { action: "replace", slot };
}

/** True when what is found serves as what is wanted. */
function isSatisfied<K extends HostKind>(slot: Slot<K>, ownDevices: ReadonlySet<string>): boolean {
  const { desired, observed } = slot;
  if (desired === undefined || observed === undefined) return false;
  return kindRules[slot.kind].isSatisfied(desired, observed, ownDevices);
}

function isRemovable(slot: AnySlot, table: HostTable): boolean {
  if (slot.observed === undefined) return false;
  switch (slot.kind) {
    case "link":
      return OWN_LINK_KINDS.has(slot.observed.kind ?? "");
    case "sysctl":
      return false;
    case "address":
      return table.hasDesiredAddress(slot.observed.device, familyOf(slot.observed.address));
    case "route":
      return slot.observed.isOurs;
    default:
      return true;
  }
}

/** One line for a slot: what is wanted, else what is found. */
export function slotLine(slot: AnySlot, ownDevices: ReadonlySet<string>): string {
  return slotLines(slot, ownDevices).at(-1)?.slice(2) ?? slot.key;
}

/** `+ ` what comes, `- ` what goes, `! ` what stands in the way; a change is both. */
export function operationLines(operations: readonly HostOperation[], ownDevices: ReadonlySet<string>): string[] {
  return operations.flatMap((operation) => {
    if (operation.action === "refuse") return [`! ${operation.reason}`];
    return slotLines(operation.slot, ownDevices);
  });
}

function slotLines<K extends HostKind>(slot: Slot<K>, ownDevices: ReadonlySet<string>): string[] {
  const lines: string[] = [];
  const desired: Desired<K> | undefined = slot.desired;
  const observed: Observed<K> | undefined = slot.observed;
  if (observed !== undefined) lines.push(`- ${observedLine(slot.kind, observed)}`);
  if (desired !== undefined) lines.push(`+ ${desiredLine(slot.kind, desired, ownDevices)}`);
  return lines;
}
