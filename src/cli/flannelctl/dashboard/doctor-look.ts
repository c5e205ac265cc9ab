// Runs doctor's checks for the dashboard, at most a twentieth of the time.

import { setTimeout as sleep } from "node:timers/promises";
import type { DoctorItem } from "../../../dashboard/messages.ts";
import { causeOf } from "../../../doctor/causes.ts";
import { diagnose } from "../doctor/diagnose.ts";
import type { DoctorOutput } from "../session/doctor-output.ts";
import type { Invocation } from "../session/invocation.ts";
import type { Board } from "./board.ts";
import type { LookLoop } from "./look-loop.ts";

const EVERY_MS = 30_000;
const COST_SHARE = 20;
/** Its many programs would be in the way of the first answer of the agent. */
const AFTER_AGENT_MS = 500;
const MAX_LISTED = 100;

export function doctorLoop(invocation: Invocation, board: Board): LookLoop {
  return {
    source: "doctor",
    look: async (signal, markRead) => {
      await sleep(AFTER_AGENT_MS, undefined, { signal });
      const { output } = await diagnose({ ...invocation, signal });
      board.set("doctor", "", doctorItem(output));
      markRead();
      return Math.max(EVERY_MS, output.durationSeconds * 1_000 * COST_SHARE);
    },
  };
}

function doctorItem({ checked, findings, unknown, durationSeconds, agent }: DoctorOutput): DoctorItem {
  return {
    checked,
    findings: findings.slice(0, MAX_LISTED).map(({ code, severity, summary, evidence, remedy, explains }) => {
      const meaning = causeOf(code)?.meaning;
      return {
        ...{ code, severity, summary, explains },
        ...(meaning !== undefined && { meaning }),
        evidence: evidence.map(({ value }) => value),
        remedies: [remedy.command, ...remedy.others],
      };
    }),
    unknown: unknown.slice(0, MAX_LISTED),
    durationSeconds,
    agent,
  };
}
