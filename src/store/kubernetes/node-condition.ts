// The Node's condition NetworkUnavailable as a true statement: False while packets can flow, True with the reason while
// they cannot. Every write of a Node reaches every agent, so it is written on a change only. Pure.
import { pauseAfterMs } from "../../async/growing-pause.ts";
import type { NodeCondition } from "./node-record.ts";

export type WantedCondition = Pick<NodeCondition, "status" | "reason" | "message">;

/** How long the network has to be unavailable before that is said: Pods are no longer scheduled then. */
const HOLD_MS = 10_000;
/** The least between two writes that say the same in other words; up to half as much is added, since many Nodes change together. */
const REPHRASE_MS = 3_600_000;
/** Between two writes at all; doubles while another program writes something different each time. */
const PAUSE = { firstMs: 10_000, maxMs: 3_600_000 } as const;

export class ConditionPlan {
  readonly #random: () => number;
  #wantedStatus = "";
  #wantedSinceMs = 0;
  #writtenAtMs: number | undefined;
  #writtenStatus = "";
  /** In a row. */
  #contestedWrites = 0;
  #rephraseMs = REPHRASE_MS;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Whether `wanted` is to be written now; `found` is what stands there. */
  isDue(wanted: WantedCondition, found: NodeCondition | undefined, nowMs: number): boolean {
    if (wanted.status !== this.#wantedStatus) {
      this.#wantedStatus = wanted.status;
      this.#wantedSinceMs = nowMs;
    }
    const pauseMs = pauseAfterMs(1 + this.#contestedWrites, PAUSE);
    const sinceWriteMs = this.#writtenAtMs === undefined ? Number.POSITIVE_INFINITY : nowMs - this.#writtenAtMs;
    if (found?.status === wanted.status) {
      if (found.reason === wanted.reason && found.message === wanted.message) return false;
      return found.reason !== wanted.reason ? sinceWriteMs >= pauseMs : sinceWriteMs >= this.#rephraseMs;
    }
    if (wanted.status === "True" && nowMs - this.#wantedSinceMs < HOLD_MS) return false;
    // What we wrote does not stand: it is contended.
    const isContested = this.#writtenStatus === wanted.status;
    return sinceWriteMs >= (isContested ? pauseMs : 0);
  }

  written(wanted: WantedCondition, nowMs: number): void {
    const isContested = this.#writtenStatus === wanted.status;
    this.#contestedWrites = isContested ? this.#contestedWrites + 1 : 0;
    this.#rephraseMs = REPHRASE_MS * (1 + this.#random() / 2);
    this.#writtenAtMs = nowMs;
    this.#writtenStatus = wanted.status;
  }
}

/** An unchanged status keeps the time of its last change. */
export function newCondition(wanted: WantedCondition, found: NodeCondition | undefined, now: string): NodeCondition {
  const isSame = found?.status === wanted.status && found.lastTransitionTime !== "";
  return { ...wanted, lastTransitionTime: isSame ? found.lastTransitionTime : now };
}
