// Repairs of kernel objects: what was done to a slot, and how the log tells of it.
import { andMore, type Contest, type Repair, type RepairLines, repairsInWords } from "../../async/repair-log.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { Slot } from "../kinds/kind.ts";

const NAMED_IN_LOG = 5;

/** The kernel names nobody for these objects: of a contest, what was found instead tells most. */
export function kernelRepairLines(logger: Logger): RepairLines {
  return {
    repaired(repairs, _authors, total) {
      const words = repairsInWords(repairs, NAMED_IN_LOG);
      const message = `repaired an external change of flannel's kernel objects: ${words}`;
      logger.warn("host.repaired", message, { count: repairs.length, total });
    },
    contested(contests) {
      const named = contests.slice(0, NAMED_IN_LOG).map(contestInWords).join("; ");
      const others = andMore(contests.length - NAMED_IN_LOG);
      const message = `contended: another program keeps changing ${named}${others}; repairs continue`;
      logger.warn("host.contested", message, { count: contests.length });
    },
  };
}

function contestInWords({ name, unreported, found }: Contest): string {
  const instead = found === undefined ? "it was gone" : `found instead: ${found}`;
  return `${name} (${unreported} more ${unreported === 1 ? "repair" : "repairs"}; ${instead})`;
}

/** What has to be done to a slot; `object` is its line, `found` what stood in its place. */
export function repairOf(slot: Slot, object: string, found: string | undefined): Omit<Repair, "at"> {
  return { kind: slot.kind.name, object, action: actionOn(slot), found };
}

function actionOn({ desired, observed }: Slot): Repair["action"] {
  if (desired === undefined) return "removed";
  return observed === undefined ? "added" : "corrected";
}
