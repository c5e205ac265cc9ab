// What has to be done so that the host becomes what is wanted: operations in the order they may be applied. Pure.
import type { Prefix } from "../../ip/address.ts";
import type { Kind, Operation, Slot } from "../kinds/kind.ts";
import { hostKinds } from "../kinds/kinds.ts";
import type { HostTable } from "./host-table.ts";

/** What is removed of what nobody wants. */
export interface Removal {
  /** False before the first full snapshot of leases: then only what leads to `forbidden`. */
  readonly prune: boolean;
  /** Where no route of ours may lead, whatever the store will say. */
  readonly forbidden?: readonly Prefix[];
}

export interface DiffOptions extends Removal {
  /** Names of the devices that are ours; of their kind, as far as they exist. */
  readonly ownDevices: ReadonlySet<string>;
}

/** What stands there is not ours; the reason says what to do. */
export interface Refusal {
  readonly action: "refuse";
  readonly slot: Slot;
  readonly reason: string;
}

export type HostOperation = Operation | Refusal;

/** Additions in the order of kinds, then removals the other way. Consumes the found side of the table. */
export function diff(table: HostTable, options: DiffOptions): HostOperation[] {
  const additions: HostOperation[] = [];
  const removals: HostOperation[] = [];
  for (const kind of hostKinds) {
    for (const slot of table.slots(kind)) {
      const operation = operationFor(slot, table, options);
      if (operation === undefined) continue;
      if (operation.action === "remove") removals.unshift(operation);
      else additions.push(operation);
      if (operation.action !== "refuse") forgetWhatGoesWith(table, operation);
    }
  }
  return [...additions, ...removals];
}

/** What an operation takes along has to be put back by the operations that follow. */
function forgetWhatGoesWith(table: HostTable, operation: Operation): void {
  const { slot } = operation;
  const losses = slot.kind.losses?.(operation) ?? [];
  for (const kind of losses === "everything" ? hostKinds : losses) forgetOn(table, kind, slot.key);
}

function forgetOn(table: HostTable, kind: Kind, device: string): void {
  for (const slot of table.slots(kind)) {
    if (slot.observed !== undefined && kind.deviceOf?.(slot.observed) === device) slot.observed = undefined;
  }
}

/** The operation that brings one slot in order; undefined when it is, or when it is not for us to touch. */
export function operationFor(slot: Slot, table: HostTable, options: DiffOptions): HostOperation | undefined {
  const { kind, desired, observed } = slot;
  if (desired === undefined) {
    if (observed === undefined) return undefined;
    const mayGo = options.prune || kind.leadsTo?.(observed, options.forbidden ?? []) === true;
    return mayGo && (kind.isRemovable?.(observed, table) ?? true) ? { action: "remove", slot } : undefined;
  }
  if (observed === undefined) return { action: "add", slot };
  const verdict = kind.compare(desired, observed, options.ownDevices);
  if (verdict === "same") return undefined;
  return typeof verdict === "string" ? { action: verdict, slot } : { action: "refuse", slot, reason: verdict.refusal };
}

/** One line for a slot: what is wanted, else what is found. */
export function slotLine(slot: Slot, ownDevices: ReadonlySet<string>): string {
  return slotLines(slot, ownDevices).at(-1)?.slice(2) ?? slot.key;
}

/** `+ ` what comes, `- ` what goes, `! ` what stands in the way; a change is both. */
export function operationLines(operations: readonly HostOperation[], ownDevices: ReadonlySet<string>): string[] {
  return operations.flatMap((operation) =>
    operation.action === "refuse" ? [`! ${operation.reason}`] : slotLines(operation.slot, ownDevices),
  );
}

function slotLines({ kind, desired, observed }: Slot, ownDevices: ReadonlySet<string>): string[] {
  const lines: string[] = [];
  if (observed !== undefined) lines.push(`- ${kind.observedLine(observed)}`);
  if (desired !== undefined) lines.push(`+ ${kind.line(desired, ownDevices)}`);
  return lines;
}
