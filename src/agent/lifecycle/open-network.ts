// From a network configuration to a Network: the backend, the external interface, identities, the reconciler.
import { randomBytes } from "node:crypto";
import type { Backend, BackendModule } from "../../backend/backend.ts";
import { announcedIdentities, type Identities, restoreIdentities } from "../../backend/identities.ts";
import type { BackendRegistry } from "../../backend/registry.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import { type NetworkConfig, networksOf } from "../../config/network-config.ts";
import { familiesOf, servedConfig } from "../../config/served-config.ts";
import { Firewall } from "../../firewall/firewall.ts";
import type { RuleHost } from "../../firewall/rule-host.ts";
import { ruleSuffix } from "../../firewall/rule-suffix.ts";
import { removeLeftScratch } from "../../host/scratch-links.ts";
import type { Prefix } from "../../ip/address.ts";
import type { LeaseAttributes } from "../../lease/lease.ts";
import type { LinkMessage } from "../../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import { hasKernelEsp } from "../../netlink/xfrm/xfrm-control.ts";
import type { Prober } from "../../probe/prober.ts";
import type { NetworkIdentity } from "../../store/network-identity.ts";
import type { DescriptorStore } from "../../sys/service-descriptors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import { Ipv6Arrival } from "../../underlay/ipv6-arrival.ts";
import { readLeftPathMtus } from "../../underlay/left-path-mtus.ts";
import { selectServedInterface } from "../../underlay/select-interface.ts";
import { publicKeyOf } from "../../wireguard/keys.ts";
import { DeviceClaims } from "../state/device-claims.ts";
import { makeIdentityFile, readIdentityFile } from "../state/identity-file.ts";
import type { RememberedState, WarmState } from "../state/warm-state.ts";
import { logChosen } from "./interface-news.ts";
import { interfaceSelection } from "./interface-selection.ts";
import { Network } from "./network.ts";
import { claimOf, type OtherNetworks } from "./network-claims.ts";
import type { NetworkOptions } from "./network-options.ts";
import { startUpBackend } from "./network-runtime.ts";
import { cleanUpOthers } from "./other-backends.ts";
import { PathMtuRepair } from "./path-mtu-repair.ts";
import { PeerProbes } from "./peer-probes.ts";

export interface OpenNetworkOptions {
  readonly backends: BackendRegistry;
  readonly config: NetworkConfig;
  readonly agentOptions: AgentOptions;
  readonly networkIdentity: NetworkIdentity;
  readonly remembered: RememberedState | undefined;
  readonly warmState: WarmState;
  /** What the store says this host announced before this start. */
  readonly announced: LeaseAttributes | undefined;
  readonly descriptorStore: DescriptorStore;
  readonly rtnetlink: Rtnetlink;
  /** Of all networks of this host. */
  readonly ruleHost: RuleHost;
  readonly logger: Logger;
  readonly metrics: MetricsRecorder;
  readonly signal: AbortSignal;
  readonly isStopped: NetworkOptions["isStopped"];
  /** What stands in the way of opening it; undefined when it no longer does. */
  readonly onWaiting: (reason: string | undefined) => void;
  readonly others: OtherNetworks;
  /** Of all networks of this host; missing: peers are not probed. */
  readonly prober: Prober | undefined;
  readonly occupied: NetworkOptions["occupied"];
  readonly onPass: NetworkOptions["onPass"];
  readonly onExternalInterface: NetworkOptions["onExternalInterface"];
  /** The network was opened without IPv6, which this host can serve now. */
  readonly onIpv6Arrival: () => void;
}

/** Where its routes stand and have stood, and its traffic rules. */
function placeOf(config: NetworkConfig, options: OpenNetworkOptions) {
  const { networkName, rules } = options.agentOptions;
  const { routing } = config;
  // One of several networks with a table of its own may overlap others: an address alone does not say what to masquerade.
  const mayOverlap = networkName !== undefined && routing !== undefined;
  return {
    routing,
    isIsolated: networkName !== undefined && routing === undefined,
    staleTables: tablesOfBefore(options),
    rules: mayOverlap ? { ...rules, masquerade: false } : rules,
  };
}

/** Where routes of the last run stand, if the configuration named another table then. */
function tablesOfBefore({ backends, remembered, config }: OpenNetworkOptions): number[] {
  try {
    const before = remembered && backends.withGivenSubnets().parseConfig(remembered.configText).config.routing;
    return before === undefined || before.table === config.routing?.table ? [] : [before.table];
  } catch {
    return [];
  }
}

function claimed(config: NetworkConfig, { backends, others }: OpenNetworkOptions): Backend {
  const backend = backends.create(config);
  others.claim(claimOf(config, backend));
  return backend;
}

/**
 * Throws `CONFIG_INVALID`, also for what another network of this agent has, `INTERFACE_NOT_FOUND`, `AGENT_RUNNING` when
 * another agent keeps our device, `COMMAND_FAILED` when a command that comes before the lease does not work.
 */
export async function openNetwork(options: OpenNetworkOptions): Promise<Network> {
  const { backends, agentOptions, remembered, rtnetlink, logger } = options;
  await removeLeftScratch(rtnetlink);
  const links = await rtnetlink.dump("link");
  const overlayDevices = backends.create(options.config).devices;
  const served = { families: familiesOf(options.config), overlayDevices };
  const wanted = interfaceSelection({ agentOptions, remembered, links, ...served });
  const chosen = await selectServedInterface(wanted, rtnetlink);
  logChosen(logger, chosen);
  const { ipv6Reason } = chosen;
  const selection = ipv6Reason === undefined ? wanted : { ...wanted, families: new Set([4] as const) };
  const config = servedConfig(options.config, selection.families);
  const backend = claimed(config, options);
  const module = backends.moduleOf(config);
  const identities = await ownIdentities(options, module, backend, links);
  await cleanUpOthers(module, options);
  const startUpData = await startUpBackend(module, config, options);
  const networks = networksOf(config);
  const earlier = (remembered?.devices ?? []).filter((device) => !backend.devices.includes(device));
  const claims = DeviceClaims.take(backend.devices, backends.deviceKeys);
  let firewall: Firewall | undefined;
  let arrival: Ipv6Arrival | undefined;
  const probes = openProbes(options);
  const held = {
    renew: () => claims.renew(),
    async [Symbol.asyncDispose]() {
      probes?.[Symbol.dispose]();
      await arrival?.[Symbol.asyncDispose]();
      await firewall?.[Symbol.asyncDispose]();
      claims[Symbol.dispose]();
    },
  };
  try {
    firewall = openFirewall(options, config, networks);
    if (ipv6Reason !== undefined) {
      arrival = Ipv6Arrival.open({ selection: wanted, rtnetlink, logger, onArrival: options.onIpv6Arrival });
    }
    return await Network.open({
      ...options,
      held,
      backend,
      identities,
      startUpData,
      probes,
      pathMtuRepair: probes === undefined ? undefined : await openRepair(options, backend),
      ...placeOf(config, options),
      masqueradeExclude: config.masqueradeExclude,
      firewall,
      externalInterface: chosen.interface,
      hasKernelEsp: module.needsEsp === true ? hasKernelEsp() : undefined,
      ipv6Reason,
      selection,
      // By now it may be another agent's: then it is not for us to remove.
      staleDevices: earlier.filter((device) => claims.tryAdd(device)),
      networks,
    });
  } catch (error) {
    await held[Symbol.asyncDispose]();
    throw error;
  }
}

/** None in a network with a table of its own: packets of this host need not find it. */
function openProbes(options: OpenNetworkOptions): PeerProbes | undefined {
  const { prober, agentOptions, backends, logger, metrics, config } = options;
  const intervalMs = agentOptions.probeIntervalMs;
  return prober === undefined || config.routing !== undefined
    ? undefined
    : new PeerProbes({ prober, intervalMs, backends, logger, metrics });
}

/** Undefined when paths are only to be shown. */
async function openRepair(
  { agentOptions, rtnetlink, logger, config }: OpenNetworkOptions,
  { devices }: Backend,
): Promise<PathMtuRepair | undefined> {
  if (agentOptions.pathMtu === "show") return undefined;
  return new PathMtuRepair(logger, await readLeftPathMtus(rtnetlink, { networks: networksOf(config), devices }));
}

function openFirewall(options: OpenNetworkOptions, config: NetworkConfig, networks: readonly Prefix[]): Firewall {
  const { networkIdentity, agentOptions, ruleHost, logger, metrics, signal, onPass } = options;
  return new Firewall({
    preferNftables: config.enableNftables,
    suffix: ruleSuffix(networkIdentity),
    networks,
    resyncMs: agentOptions.rules.resyncMs,
    host: ruleHost,
    logger,
    metrics,
    signal,
    onChange: onPass,
  });
}

/** Written to the file in which upstream keeps them, too, where there is one and it is missing. */
async function ownIdentities(
  { backends, announced, remembered, logger }: OpenNetworkOptions,
  module: BackendModule,
  { type, devices }: Backend,
  links: readonly LinkMessage[],
): Promise<Identities> {
  const known = { ...announcedIdentities(backends.modules, announced), ...remembered?.identities };
  const file = readIdentityFile(module);
  const identities = restoreIdentities(backends.modules, type, known, {
    devices,
    links,
    randomBytes,
    curve25519PublicKey: publicKeyOf,
    ...(file === undefined ? {} : { file }),
  });
  await makeIdentityFile(module, identities[type], logger);
  return identities;
}
