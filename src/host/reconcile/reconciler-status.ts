// What the reconciler says about itself.
import type { RepairRecord } from "../../async/repair-log.ts";
import { desiredOf } from "../kinds/host-state.ts";
import type { Kind } from "../kinds/kind.ts";
import { hostKinds } from "../kinds/kinds.ts";
import type { HostFailure, ReconcilePass } from "./reconcile-pass.ts";

export interface ReconcilerStatus {
  readonly desiredObjects: number;
  /** Of those, the ones that are in the kernel as wanted. */
  readonly programmedObjects: number;
  /** At most 100; first those that all else hangs on. */
  readonly failures: readonly HostFailure[];
  readonly repairs: { readonly total: number; readonly last: readonly RepairRecord[] };
}

/** A failure, and which object it is about; without a slot it is about all that waits for a device. */
export interface SlotFailure {
  readonly failure: HostFailure;
  readonly slot?: { readonly kind: Kind; readonly key: string; readonly isDesired: boolean };
}

const MAX_FAILURES_SHOWN = 100;

export function reconcilerStatus(pass: ReconcilePass): ReconcilerStatus {
  const desiredObjects = hostKinds.reduce((sum, kind) => sum + desiredOf(pass.table.state, kind).length, 0);
  let missing = 0;
  for (const slot of pass.dirty) if (slot.desired !== undefined) missing++;
  return {
    desiredObjects,
    programmedObjects: desiredObjects - missing,
    failures: slotFailures(pass).map(({ failure }) => failure),
    repairs: { total: pass.repairs.total, last: pass.repairs.last },
  };
}

/** Those of `ReconcilerStatus`, in the same order. */
export function slotFailures(pass: ReconcilePass): SlotFailure[] {
  const failures: SlotFailure[] = [];
  for (const [slot, { error, attempts }] of pass.failures.entries()) {
    if (failures.length >= MAX_FAILURES_SHOWN) break;
    const { kind, key } = slot;
    const failure = {
      failure: { object: pass.line(slot), error, attempts },
      slot: { kind, key, isDesired: slot.desired !== undefined },
    };
    if (kind.isFoundation === true) failures.unshift(failure);
    else failures.push(failure);
  }
  for (const [reason, count] of pass.blocked) {
    failures.push({ failure: { object: `${count} objects`, error: `waiting: ${reason}`, attempts: 0 } });
  }
  return failures;
}
