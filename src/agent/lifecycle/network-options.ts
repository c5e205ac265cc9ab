// What a Network is opened with.
import type { Backend, HostFacts } from "../../backend/backend.ts";
import type { Identities } from "../../backend/identities.ts";
import type { BackendRegistry } from "../../backend/registry.ts";
import type { RuleOptions } from "../../config/agent-options.ts";
import type { MasqueradeExclude, Routing } from "../../config/network-config.ts";
import type { Firewall } from "../../firewall/firewall.ts";
import type { Prefix } from "../../ip/address.ts";
import type { BackendData } from "../../lease/lease.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { DescriptorStore } from "../../sys/service-descriptors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { FollowedInterface } from "../../underlay/follow-interface.ts";
import type { InterfaceOptions } from "../../underlay/interface-facts.ts";
import type { DeviceClaims } from "../state/device-claims.ts";
import type { WarmState } from "../state/warm-state.ts";
import type { OccupiedSources } from "./occupied-addresses.ts";
import type { PathMtuRepair } from "./path-mtu-repair.ts";
import type { PeerProbes } from "./peer-probes.ts";

export interface NetworkOptions {
  /** The network's once it is open, which releases it after all else: the firewall, claims on devices. */
  readonly held: AsyncDisposable & Pick<DeviceClaims, "renew">;
  readonly backends: BackendRegistry;
  /** One of them. */
  readonly backend: Backend;
  readonly identities: Identities;
  /** See `HostFacts`. */
  readonly startUpData: BackendData | undefined;
  readonly externalInterface: ExternalInterface;
  /** Asked for backends that need to know. */
  readonly hasKernelEsp: boolean | undefined;
  /** Why this host does not serve the IPv6 of the configuration. */
  readonly ipv6Reason: string | undefined;
  /** How the interface was chosen: a new address on it is chosen the same way. */
  readonly selection: InterfaceOptions;
  /** Devices of an earlier configuration, to be removed. */
  readonly staleDevices: readonly string[];
  readonly networks: readonly Prefix[];
  /** Missing: its routes stand in the main table. */
  readonly routing: Routing | undefined;
  /** Kept apart from the other networks of this agent. */
  readonly isIsolated: boolean;
  /** Tables of an earlier configuration. */
  readonly staleTables: readonly number[];
  readonly rules: RuleOptions;
  /** Held; missing: peers are not probed. */
  readonly probes: PeerProbes | undefined;
  /** Missing: what paths carry is only shown. */
  readonly pathMtuRepair: PathMtuRepair | undefined;
  readonly masqueradeExclude: MasqueradeExclude | undefined;
  readonly occupied: OccupiedSources;
  /** These stay the caller's. */
  readonly firewall: Firewall;
  readonly warmState: WarmState;
  readonly descriptorStore: DescriptorStore;
  readonly rtnetlink: Rtnetlink;
  readonly logger: Logger;
  readonly metrics: MetricsRecorder;
  readonly signal: AbortSignal;
  /** Whether the process is asked to stop. */
  readonly isStopped: () => boolean;
  /** After each pass over the kernel. */
  readonly onPass: () => void;
  /** The external interface is another now. */
  readonly onExternalInterface: (followed: FollowedInterface, previous: ExternalInterface) => void;
}

type FactSources = Pick<
  NetworkOptions,
  "externalInterface" | "identities" | "backend" | "startUpData" | "hasKernelEsp"
>;

/** Before anything was looked up. */
export function firstFacts(options: FactSources): HostFacts {
  const { externalInterface, identities, backend, startUpData, hasKernelEsp } = options;
  return {
    externalInterface,
    identity: identities[backend.type],
    ...(startUpData !== undefined && { startUpData }),
    ...(hasKernelEsp !== undefined && { hasKernelEsp }),
    directPeers: new Set(),
    occupied: [],
  };
}
