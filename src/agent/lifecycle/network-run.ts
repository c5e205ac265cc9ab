// One network from its start to its end: what is remembered of it, its agent, what holds containers back and announces it.
import type { BackendRegistry } from "../../backend/registry.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import type { RuleHost } from "../../firewall/rule-host.ts";
import type { LeasedSubnets } from "../../lease/lease.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { Prober } from "../../probe/prober.ts";
import type { StoreIdentity } from "../../store/network-identity.ts";
import type { SubnetStore } from "../../store/subnet-store.ts";
import type { DescriptorStore } from "../../sys/service-descriptors.ts";
import type { AgentLogger } from "../../telemetry/create-logger.ts";
import { type HostIdentity, WarmState } from "../state/warm-state.ts";
import { Agent } from "./agent.ts";
import type { AgentEnd } from "./agent-parts.ts";
import { AttachHold } from "./attach-hold.ts";
import { forgetBootFile } from "./cni-boot-file.ts";
import { CniFile } from "./cni-file.ts";
import type { OtherNetworks } from "./network-claims.ts";
import type { NetworkReport } from "./network-report.ts";

/** All of it stays the caller's. */
export interface NetworkRunParts {
  /** Of this network. */
  readonly options: AgentOptions;
  readonly backends: BackendRegistry;
  readonly logger: AgentLogger;
  readonly store: SubnetStore;
  readonly identity: StoreIdentity;
  readonly descriptorStore: DescriptorStore;
  readonly rtnetlink: Rtnetlink;
  /** Of all networks of this host. */
  readonly ruleHost: RuleHost;
  /** Of all networks of this host; missing: peers are not probed. */
  readonly prober: Prober | undefined;
  /** At the start. */
  readonly host: HostIdentity;
  readonly report: NetworkReport;
  readonly others: OtherNetworks;
  /** The last run of this network ended with "restart". */
  readonly isRestart: boolean;
  readonly signal: AbortSignal;
  /** After every change that readiness, files or status may depend on. */
  readonly onSettled: () => void;
}

export class NetworkRun implements AsyncDisposable {
  readonly agent: Agent;
  /** How it ended. */
  readonly ended: Promise<AgentEnd>;
  readonly #refused = Promise.withResolvers<AgentEnd>();
  #held: LeasedSubnets | undefined;
  readonly #parts: NetworkRunParts;
  readonly #cniFile: CniFile | undefined;
  readonly #attachHold: AttachHold;

  private constructor(parts: NetworkRunParts) {
    const { options, logger, identity, backends, host, store, report } = parts;
    this.#parts = parts;
    const { stateDirectory: directory, subnetFile, cni } = options;
    const { network: networkIdentity, leaseCodec } = identity;
    const warmState = new WarmState({ directory, subnetFile, networkId: networkIdentity.id, leaseCodec, backends });
    const remembered = warmState.load(host, (file, reason) =>
      logger.info("state.ignored", `ignoring the remembered state: ${reason}`, { file }),
    );
    // A handover outlives a restart within the process: the file stays one of its own, which a boot leaves alone.
    const own = cni && report.isHandedOver ? { file: cni.file, template: cni.template } : cni;
    this.#cniFile = own && new CniFile(own, subnetFile, logger);
    const { cniBootFile } = remembered ?? {};
    if (cniBootFile !== undefined && cniBootFile !== cni?.bootFile) forgetBootFile(cniBootFile, logger);
    this.#attachHold = new AttachHold(subnetFile);
    this.agent = Agent.start({
      ...{ options, backends, logger, store, networkIdentity, warmState, remembered },
      descriptorStore: parts.descriptorStore,
      rtnetlink: parts.rtnetlink,
      ruleHost: parts.ruleHost,
      prober: parts.prober,
      hostAddresses: host.addresses,
      others: parts.others,
      isRestart: parts.isRestart,
      signal: parts.signal,
      metrics: report.metrics,
      onSettled: () => this.#settled(),
    });
    report.follow(this.agent);
    report.onHandover(async () => this.#cniFile?.handOver());
    this.ended = Promise.race([this.agent.ended, this.#refused.promise]);
  }

  static start(parts: NetworkRunParts): NetworkRun {
    return new NetworkRun(parts);
  }

  /** To be called now and then: the state depends on the clock, too, and what failed is tried again. */
  tick(): void {
    this.agent.settle();
    this.#parts.report.keepHandedOver(this.#parts.logger);
    this.agent.dropWatch.tick();
  }

  #settled(): void {
    const { report, store, onSettled } = this.#parts;
    this.#holdSubnets();
    onSettled();
    if (report.isHandedOver) this.#attachHold.release();
    else this.#attachHold.follow(report.state());
    this.#cniFile?.follow(report.forContainers());
    store.host?.report(report.forOthers());
  }

  /** The subnets of a host's networks are apart, even where the networks overlap. */
  #holdSubnets(): void {
    const own = this.#parts.report.ownLease;
    if (own === undefined || own === this.#held) return;
    this.#held = own;
    try {
      this.#parts.others.holdSubnets(own);
    } catch (error) {
      this.#refused.resolve({ type: "failed", error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    await this.#cniFile?.[Symbol.asyncDispose]();
  }
}
