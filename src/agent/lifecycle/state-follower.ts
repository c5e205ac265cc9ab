// Which state is reported: a change has to last before it is, so that a blip is not seen by probes and alerts. Reported at once
// are the way up after a start, until the agent is ready for the first time, and reasons that are no blip (a lost lease).
import { type StateReason, stateOf } from "./agent-state.ts";
import { type AgentState, agentStates, type ReasonDefinition, reasonDefinitions } from "./state-reasons.ts";

export const HOLD_MS = 10_000;

export interface StateClock {
  /** Does not jump. */
  readonly monotonicMs: () => number;
  readonly wallMs: () => number;
}

export interface ReportedState {
  readonly state: AgentState;
  /** When it began to be reported, on the wall clock. */
  readonly changedAtMs: number;
  /** What it becomes if the reasons of this moment last. */
  readonly pendingState?: AgentState;
}

export class StateFollower {
  readonly #clock: StateClock;
  #told: AgentState = "notReady";
  #changedAtMs: number;
  /** Not ready once since the start. */
  #isFresh = true;
  /** By rank: since when the reasons have amounted to at least, and at most, that state. */
  readonly #atLeastSinceMs: (number | undefined)[] = [];
  readonly #atMostSinceMs: (number | undefined)[] = [];

  constructor(clock: StateClock) {
    this.#clock = clock;
    this.#changedAtMs = clock.wallMs();
  }

  /** The agent restarts: its way up to ready is reported at once, as after a start. */
  restart(): void {
    this.#isFresh = true;
  }

  /** Called with the reasons of this moment as often as they may have changed, and now and then. */
  follow(reasons: readonly StateReason[]): ReportedState {
    const now = stateOf(reasons);
    const nowMs = this.#clock.monotonicMs();
    this.#record(rank(now), nowMs);
    const isWayUp = this.#isFresh && rank(now) < rank(this.#told);
    const isAtOnce = isWayUp || (now === "notReady" && reasons.some(isImmediate));
    const next = isAtOnce ? now : this.#lasting(nowMs);
    if (now === "ready") this.#isFresh = false;
    if (next !== this.#told) {
      this.#told = next;
      this.#changedAtMs = this.#clock.wallMs();
    }
    return { state: this.#told, changedAtMs: this.#changedAtMs, ...(now !== this.#told && { pendingState: now }) };
  }

  #record(now: number, nowMs: number): void {
    for (const at of agentStates.keys()) {
      this.#atLeastSinceMs[at] = now >= at ? (this.#atLeastSinceMs[at] ?? nowMs) : undefined;
      this.#atMostSinceMs[at] = now <= at ? (this.#atMostSinceMs[at] ?? nowMs) : undefined;
    }
  }

  /** The worst that has lasted, else the best that has, else what is reported. */
  #lasting(nowMs: number): AgentState {
    const told = rank(this.#told);
    const hasLasted = (sinceMs: number | undefined) => sinceMs !== undefined && nowMs - sinceMs >= HOLD_MS;
    const worse = agentStates.findLast((state) => rank(state) > told && hasLasted(this.#atLeastSinceMs[rank(state)]));
    const better = agentStates.find((state) => rank(state) < told && hasLasted(this.#atMostSinceMs[rank(state)]));
    return worse ?? better ?? this.#told;
  }
}

function rank(state: AgentState): number {
  return agentStates.indexOf(state);
}

function isImmediate({ name }: StateReason): boolean {
  const definition: ReasonDefinition = reasonDefinitions[name];
  return definition.isImmediate === true;
}
