// Says changes of the state in the log and to the service manager, and once what is wrong with this host.
import type { CheckFinding } from "../../doctor/finding.ts";
import { describeError } from "../../errors.ts";
import type { ServiceDescriptors } from "../../sys/service-descriptors.ts";
import { notifyService } from "../../sys/service-notify.ts";
import type { AgentLogger } from "../../telemetry/create-logger.ts";
import type { AgentMetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import { oneLine } from "../../terminal/foreign-text.ts";
import type { StateReason } from "./agent-state.ts";
import { preferSmallHeap } from "./heap-policy.ts";
import type { AgentState } from "./state-reasons.ts";

/** What is announced of the agent, or of one of its networks. */
export interface Announced {
  state(): { readonly state: AgentState; readonly reasons: readonly StateReason[] };
  readonly isForwarding: boolean;
  readonly hasNetwork: boolean;
  preflight(): Promise<readonly CheckFinding[]>;
  summary(): Record<string, unknown>;
}

export class StateAnnouncer {
  readonly #logger: AgentLogger;
  readonly #keeper: ServiceDescriptors;
  readonly #metrics: AgentMetricsRecorder;
  #saidState: AgentState = "notReady";
  #saidText = "";
  #isReadySent = false;
  #isPreflightSaid = false;
  #hasEnded = false;

  constructor(logger: AgentLogger, keeper: ServiceDescriptors, metrics: AgentMetricsRecorder) {
    this.#logger = logger;
    this.#metrics = metrics;
    this.#keeper = keeper;
  }

  tell(report: Announced): void {
    if (this.#hasEnded) return;
    const { state, reasons } = report.state();
    const text = stateText(state, reasons);
    if (!this.#isReadySent && report.isForwarding) {
      this.#isReadySent = true;
      preferSmallHeap();
      tryToForget(this.#keeper, this.#logger); // what an earlier configuration needed
      this.#notify(`READY=1\nSTATUS=${text}`);
    } else if (this.#isReadySent && text !== this.#saidText) {
      this.#notify(`STATUS=${text}`);
    }
    this.#saidText = text;
    if (state === this.#saidState) return;
    this.#saidState = state;
    this.#metrics.count("flannel_state_changes_total", {});
    if (state === "ready") {
      this.#logger.info("agent.ready", "ready: packets to all known peers can flow", report.summary());
    } else {
      const event = state === "degraded" ? "agent.degraded" : "agent.not-ready";
      this.#logger.warn(event, state === "degraded" ? text : text.replace("not ready", "no longer ready"));
    }
  }

  /** Once, and not before the first tick: the way to ready is not for reading other people's firewall rules. */
  tellPreflight(report: Announced): void {
    if (this.#isPreflightSaid || !report.hasNetwork) return;
    this.#isPreflightSaid = true;
    report.preflight().then(
      (findings) => {
        for (const { name, severity, evidence, remedy } of findings) {
          const say = severity === "error" ? this.#logger.error : this.#logger.warn;
          say(`preflight.${name}`, `${evidence}: ${remedy}`, { remedy });
        }
      },
      (error: unknown) =>
        this.#logger.warn("preflight.failed", "cannot check this host", { error: describeError(error) }),
    );
  }

  /** Nothing is told after it: what settles while the parts are closed says nothing about the next agent. */
  end(isStopping: boolean): void {
    this.#hasEnded = true;
    if (isStopping) this.#notify("STOPPING=1");
  }

  #notify(state: string): void {
    try {
      notifyService(state);
    } catch (error) {
      this.#logger.warn("service.not-notified", "cannot tell the service manager", { error: describeError(error) });
    }
  }
}

/** Nobody knows when the next agent will carry packets, if ever. */
export function tryToForget(keeper: ServiceDescriptors, logger: AgentLogger): void {
  try {
    keeper.forgetHeld();
  } catch (error) {
    logger.warn("service.not-notified", "cannot tell the service manager", { error: describeError(error) });
  }
}

/** For `systemctl status`: the state, and the reasons that make it so. */
function stateText(state: AgentState, reasons: readonly StateReason[]): string {
  if (state === "ready") return "ready";
  // Each line is a word to the service manager.
  const because = oneLine(reasons.map(({ message }) => message).join("; "));
  const isOfPeers = reasons.some(({ name }) => name === "peer-failed" || name === "peer-unreachable");
  if (state === "degraded" && isOfPeers) return `ready, ${because}`;
  const name = state === "degraded" ? "degraded" : "not ready";
  return because === "" ? name : `${name}: ${because}`;
}
