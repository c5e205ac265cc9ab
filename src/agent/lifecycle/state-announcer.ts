// Says changes of the state in the log and to the service manager, and once what is wrong with this host.
import type { Finding } from "../../doctor/finding.ts";
import { describeError } from "../../errors.ts";
import { trimAfterStart } from "../../sys/memory-trimmer.ts";
import type { ServiceDescriptors } from "../../sys/service-descriptors.ts";
import { notifyService } from "../../sys/service-notify.ts";
import type { AgentLogger } from "../../telemetry/create-logger.ts";
import type { AgentMetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { StateReason } from "./agent-state.ts";
import { type StateLog, stateText } from "./state-log.ts";
import type { AgentState } from "./state-reasons.ts";

/** What is announced of the agent, or of one of its networks. */
export interface Announced {
  state(): { readonly state: AgentState; readonly reasons: readonly StateReason[] };
  readonly isForwarding: boolean;
  readonly hasNetwork: boolean;
  preflight(): Promise<readonly Finding[]>;
  summary(): Record<string, unknown>;
}

export interface AnnouncerParts {
  readonly logger: AgentLogger;
  readonly metrics: AgentMetricsRecorder;
  /** Forgets, once packets flow, what nobody took; missing where one network flows before another one has begun. */
  readonly descriptorStore?: ServiceDescriptors;
  /** Missing where each network says its own. */
  readonly log?: StateLog;
}

export class StateAnnouncer {
  readonly #logger: AgentLogger;
  readonly #descriptorStore: ServiceDescriptors | undefined;
  readonly #log: StateLog | undefined;
  readonly #metrics: AgentMetricsRecorder;
  #saidState: AgentState = "notReady";
  #saidText = "";
  /** What the service manager knows: that it starts, that packets flow, that nothing more is said. */
  #stage: "starting" | "ready" | "ended" = "starting";
  #isPreflightSaid = false;

  constructor({ logger, metrics, descriptorStore, log }: AnnouncerParts) {
    this.#logger = logger;
    this.#metrics = metrics;
    this.#descriptorStore = descriptorStore;
    this.#log = log;
  }

  follow(report: Announced): void {
    if (this.#stage === "ended") return;
    const { state, reasons } = report.state();
    const text = stateText(state, reasons);
    if (this.#stage === "starting" && report.isForwarding) {
      this.#stage = "ready";
      trimAfterStart();
      if (this.#descriptorStore !== undefined) tryToForget(this.#descriptorStore, this.#logger); // what an earlier configuration needed
      this.#notify(`READY=1\nSTATUS=${text}`);
    } else if (this.#stage === "ready" && text !== this.#saidText) {
      this.#notify(`STATUS=${text}`);
    }
    this.#saidText = text;
    this.#log?.follow(state, reasons, () => report.summary());
    if (state === this.#saidState) return;
    this.#saidState = state;
    this.#metrics.count("flannel_state_changes_total", {});
  }

  /** Once, and not before the first tick: the way to ready is not for reading other people's firewall rules. */
  logFindings(report: Announced): void {
    if (this.#isPreflightSaid || !report.hasNetwork) return;
    this.#isPreflightSaid = true;
    report.preflight().then(
      (findings) => {
        for (const { name, severity, evidence, remedy } of findings) {
          const say = severity === "error" ? this.#logger.error : this.#logger.warn;
          say("doctor.found", `${evidence}: ${remedy}`, { finding: name, remedy });
        }
      },
      (error: unknown) =>
        this.#logger.warn("preflight.failed", "cannot check this host", { error: describeError(error) }),
    );
  }

  /** Nothing is announced after it: what settles while the parts are closed says nothing about the next agent. */
  end(isStopping: boolean): void {
    this.#stage = "ended";
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
export function tryToForget(descriptorStore: ServiceDescriptors, logger: AgentLogger): void {
  try {
    descriptorStore.forgetHeld();
  } catch (error) {
    logger.warn("service.not-notified", "cannot tell the service manager", { error: describeError(error) });
  }
}
