// What an agent is started with, and how it ends.
import type { BackendRegistry } from "../../backend/registry.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import { hasCode } from "../../errors.ts";
import type { RuleHost } from "../../firewall/rule-host.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { Prober } from "../../probe/prober.ts";
import type { NetworkIdentity } from "../../store/network-identity.ts";
import type { SubnetStore } from "../../store/subnet-store.ts";
import type { DescriptorStore } from "../../sys/service-descriptors.ts";
import type { AgentLogger } from "../../telemetry/create-logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { RememberedState, WarmState } from "../state/warm-state.ts";
import type { OtherNetworks } from "./network-claims.ts";

/** How the agent ended: asked to, by a failure, or to restart with another configuration. */
export type AgentEnd = { readonly type: "failed"; readonly error: unknown } | { readonly type: "restart" };

/** A command of the configuration that does not work is read again: it may have been corrected. */
export function endOf(error: unknown): AgentEnd {
  return hasCode(error, "COMMAND_FAILED") ? { type: "restart" } : { type: "failed", error };
}

export interface AgentParts {
  readonly options: AgentOptions;
  readonly backends: BackendRegistry;
  readonly logger: AgentLogger;
  readonly metrics: MetricsRecorder;
  readonly store: SubnetStore;
  readonly networkIdentity: NetworkIdentity;
  readonly descriptorStore: DescriptorStore;
  readonly rtnetlink: Rtnetlink;
  /** Of all networks of this host. */
  readonly ruleHost: RuleHost;
  /** Of all networks of this host; missing: peers are not probed. */
  readonly prober: Prober | undefined;
  readonly warmState: WarmState;
  readonly remembered: RememberedState | undefined;
  readonly hostAddresses: ReadonlySet<string>; // at the start
  readonly isRestart: boolean; // the last agent of this process ended with "restart"
  readonly others: OtherNetworks;
  readonly signal: AbortSignal;
  /** After every change that readiness, files or status may depend on. */
  readonly onSettled: () => void;
}
