// Says changes of a state in the log: of the agent, or of one of its networks.
import type { Logger } from "../../telemetry/logger.ts";
import { oneLine } from "../../terminal/foreign-text.ts";
import type { StateReason } from "./agent-state.ts";
import type { AgentState } from "./state-reasons.ts";

export class StateLog {
  readonly #logger: Logger;
  #saidState: AgentState = "notReady";

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  follow(state: AgentState, reasons: readonly StateReason[], summary: () => Record<string, unknown>): void {
    if (state === this.#saidState) return;
    this.#saidState = state;
    if (state === "ready") {
      this.#logger.info("agent.ready", "ready: packets to all known peers can flow", summary());
      return;
    }
    const text = stateText(state, reasons);
    const event = state === "degraded" ? "agent.degraded" : "agent.not-ready";
    this.#logger.warn(event, state === "degraded" ? text : text.replace("not ready", "no longer ready"));
  }
}

/** For `systemctl status`: the state, and the reasons that make it so. */
export function stateText(state: AgentState, reasons: readonly StateReason[]): string {
  if (state === "ready") return "ready";
  // Each line is a word to the service manager.
  const because = oneLine(reasons.map(({ message }) => message).join("; "));
  const isOfPeers = reasons.some(({ name }) =>
    ["peer-failed", "peer-unreachable", "peer-down", "peer-mtu"].includes(name),
  );
  if (state === "degraded" && isOfPeers) return `ready, ${because}`;
  const name = state === "degraded" ? "degraded" : "not ready";
  return because === "" ? name : `${name}: ${because}`;
}
