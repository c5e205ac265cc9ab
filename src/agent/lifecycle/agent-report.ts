// What the agent tells about itself: readiness, status, plan. It reads and changes nothing, but for the handover.
import type { AgentOptions } from "../../config/agent-options.ts";
import type { PreflightFinding } from "../../doctor/preflight.ts";
import { FlannelError } from "../../errors.ts";
import { hostStateLines } from "../../host/kinds/host-state.ts";
import type { OwnLease } from "../../lease/lease.ts";
import type { SubnetStore } from "../../store/subnet-store.ts";
import type { Metrics, MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { Handover, MetricsAnswer, Plan, Rules, Status } from "../control/control-protocol.ts";
import type { ControlHandlers } from "../control/control-server.ts";
import type { Agent } from "./agent.ts";
import { NETWORK_NAME, recordAgent } from "./agent-metrics.ts";
import { certificateFindings } from "./certificate-findings.ts";
import type { Network } from "./network.ts";

export class AgentReport {
  readonly handlers: ControlHandlers = {
    status: () => this.status(),
    plan: () => this.plan(),
    rules: () => this.rules(),
    handover: async () => this.handover(),
    metrics: async () => this.metrics(),
  };
  readonly #options: AgentOptions;
  readonly #version: string;
  readonly #metrics: Metrics;
  /** For what there is today: one network for each agent. */
  readonly networkMetrics: MetricsRecorder;
  readonly #startedAt = new Date();
  #agent: Agent | undefined;
  #store: SubnetStore | undefined;

  constructor(options: AgentOptions, version: string, metrics: Metrics) {
    this.#options = options;
    this.#version = version;
    this.#metrics = metrics;
    this.networkMetrics = metrics.network(NETWORK_NAME);
  }

  follow(agent: Agent, store: SubnetStore): void {
    this.#agent = agent;
    this.#store = store;
  }

  reasons(): readonly string[] {
    return this.#agent?.reasons() ?? ["starting"];
  }

  get isForwarding(): boolean {
    return this.#agent?.isForwarding === true;
  }

  get hasNetwork(): boolean {
    return this.#agent?.network !== undefined;
  }

  async preflight(): Promise<readonly PreflightFinding[]> {
    return (await this.#agent?.network?.preflight()) ?? [];
  }

  summary(): Record<string, unknown> {
    const own = this.#agent?.ownLease;
    return { subnet: own?.subnet, ipv6Subnet: own?.ipv6Subnet, peers: this.#agent?.network?.plan.plannedPeers };
  }

  async status(): Promise<Status> {
    const agent = this.#agent;
    const network = agent?.network;
    const reasons = [...this.reasons()];
    const own = agent?.ownLease;
    return {
      version: this.#version,
      pid: process.pid,
      startedAt: this.#startedAt.toISOString(),
      ready: reasons.length === 0,
      reasons,
      backend: agent?.config?.backendType ?? "",
      subnetFile: this.#options.subnetFile,
      stateDirectory: this.#options.stateDirectory,
      ...(network !== undefined && { externalInterface: describeInterface(network), mtuBytes: network.mtuBytes }),
      ...(own !== undefined && { lease: describeLease(own) }),
      store: this.#describeStore(),
      peers: {
        known: agent?.table.peers().length ?? 0,
        desired: network?.plan.plannedPeers ?? 0,
        programmed: network?.programmedPeers ?? 0,
        skipped: [...(network?.plan.skipped ?? [])],
      },
      failures: [...(network?.failures ?? [])],
      repairs: mergeRepairs(network?.reconciler.status().repairs, network?.firewall.status().repairs),
      ...(network !== undefined && { rules: this.#describeRules(network) }),
      preflight: [...(await this.preflight()), ...this.#certificateFindings(), ...(agent?.configNews.findings ?? [])],
      ...(network !== undefined && describeDataPlane(network)),
    };
  }

  async plan(): Promise<Plan> {
    const network = this.#networkOrRefuse();
    return {
      desired: hostStateLines(network.plan.state),
      difference: [...(await network.reconciler.difference())],
    };
  }

  async rules(): Promise<Rules> {
    const { firewall } = this.#networkOrRefuse();
    const { mode, reason } = firewall.status();
    const { wanted, found, difference } = await firewall.listing();
    return { mode, reason, wanted: [...wanted], found: [...found], difference: [...difference] };
  }

  handover(): Promise<Handover> {
    return this.#networkOrRefuse().reconciler.handover();
  }

  /** What features recorded as it happened, and what is read from them now. */
  metrics(): MetricsAnswer {
    if (this.#agent !== undefined) recordAgent(this.networkMetrics, this.#agent);
    return { metrics: this.#metrics.snapshot() };
  }

  #networkOrRefuse(): Network {
    const network = this.#agent?.network;
    if (network !== undefined) return network;
    const reasons = this.reasons().join("; ");
    throw new FlannelError("config.missing", `the agent has no network configuration yet (${reasons})`);
  }

  #describeRules(network: Network): NonNullable<Status["rules"]> {
    const { mode, reason, warnings } = network.firewall.status();
    const { masquerade, forward } = this.#options.rules;
    return { mode, reason, masquerade, forward, warnings: [...warnings] };
  }

  #certificateFindings(): Status["preflight"] {
    return certificateFindings(this.#store?.certificates?.inUse() ?? [], this.#options.etcd, Date.now());
  }

  #describeStore(): Status["store"] {
    const certificates = this.#store?.certificates?.inUse() ?? [];
    const agent = this.#agent;
    const ageMs = agent?.storeView.ageMs;
    return {
      description: this.#store?.description ?? "",
      connected: agent?.storeView.isConnected ?? false,
      ...(ageMs !== undefined && {
        ageSeconds: Math.round(ageMs) / 1_000,
        revision: agent?.table.revision?.toString() ?? "0",
      }),
      warmStart: agent?.isWarmStart ?? false,
      unreadableKeys: agent?.table.unreadable() ?? [],
      ...(certificates.length > 0 && {
        certificates: certificates.map(({ role, source, endsAtMs }) => ({
          role,
          source,
          endsAt: new Date(endsAtMs).toISOString(),
        })),
      }),
    };
  }
}

type Repairs = Status["repairs"];
type FoundRepairs = { readonly total: number; readonly last: readonly Repairs["last"][number][] };
const REPAIRS_SHOWN = 20;

function mergeRepairs(...parts: readonly (FoundRepairs | undefined)[]): Repairs {
  const known = parts.filter((part) => part !== undefined);
  const last = known.flatMap((part) => part.last).sort((a, b) => a.at.localeCompare(b.at));
  return { total: known.reduce((sum, part) => sum + part.total, 0), last: last.slice(-REPAIRS_SHOWN) };
}

function describeDataPlane(network: Network): Pick<Status, "dataPlane"> {
  const status = network.dataPlane();
  if (status === undefined) return {};
  const { features, carried, dropped, peers } = status;
  const problem = network.dataPlaneProblem;
  return {
    dataPlane: {
      ...(problem !== undefined && { problem }),
      ...(features !== undefined && { features }),
      carried,
      dropped,
      peers: [...peers],
    },
  };
}

function describeInterface(network: Network): NonNullable<Status["externalInterface"]> {
  const { name, mtuBytes, address, ipv6Address, publicIp, publicIpv6 } = network.facts.externalInterface;
  return {
    name,
    mtuBytes,
    ...(address !== undefined && { address }),
    ...(ipv6Address !== undefined && { ipv6Address }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
  };
}

function describeLease(lease: OwnLease): NonNullable<Status["lease"]> {
  const { publicIp, publicIpv6, backendType } = lease.attributes;
  return {
    key: lease.key,
    isReservation: lease.isReservation,
    ...(lease.subnet !== undefined && { subnet: lease.subnet }),
    ...(lease.ipv6Subnet !== undefined && { ipv6Subnet: lease.ipv6Subnet }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
    ...(backendType !== undefined && { backendType }),
    ...(lease.expiresAtMs !== undefined && { expiresAt: new Date(lease.expiresAtMs).toISOString() }),
  };
}
