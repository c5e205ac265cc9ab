// From a network configuration to a Network: the backend, the external interface, identities, the reconciler.
import { randomBytes } from "node:crypto";
import { restoreIdentities } from "../../backend/identities.ts";
import type { BackendRegistry } from "../../backend/registry.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import type { NetworkConfig } from "../../config/network-config.ts";
import { Firewall } from "../../firewall/firewall.ts";
import { ruleSuffix } from "../../firewall/rule-suffix.ts";
import type { Family } from "../../ip/address.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { NetworkIdentity } from "../../store/network-identity.ts";
import type { DescriptorKeeper } from "../../sys/service-descriptors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import { selectExternalInterface } from "../../underlay/select-interface.ts";
import { DeviceClaims } from "../state/device-claims.ts";
import type { RememberedState } from "../state/warm-state.ts";
import { interfaceSelection } from "./interface-selection.ts";
import { Network } from "./network.ts";
import type { NetworkOptions } from "./network-options.ts";

export interface OpenNetworkOptions {
  readonly backends: BackendRegistry;
  readonly config: NetworkConfig;
  readonly agentOptions: AgentOptions;
  readonly networkIdentity: NetworkIdentity;
  readonly remembered: RememberedState | undefined;
  readonly descriptorKeeper: DescriptorKeeper;
  readonly rtnetlink: Rtnetlink;
  readonly logger: Logger;
  readonly metrics: MetricsRecorder;
  readonly signal: AbortSignal;
  readonly onPass: NetworkOptions["onPass"];
  readonly onExternalInterface: NetworkOptions["onExternalInterface"];
}

/** Throws `CONFIG_INVALID`, `INTERFACE_NOT_FOUND`, or `AGENT_RUNNING` when another agent keeps our device. */
export async function openNetwork(options: OpenNetworkOptions): Promise<Network> {
  const { backends, config, agentOptions, remembered, rtnetlink, logger, metrics, signal, onPass } = options;
  const backend = backends.create(config);
  const links = await rtnetlink.dump("link");
  const families = familiesOf(config);
  const overlayDevices = backend.devices;
  const selection = interfaceSelection({ agentOptions, families, remembered, links, overlayDevices });
  const chosen = await selectExternalInterface(selection, rtnetlink);
  for (const warning of chosen.warnings) logger.warn("interface.odd", warning);
  const { name, mtuBytes, address, ipv6Address, publicIp, publicIpv6 } = chosen.interface;
  const facts = { interface: name, mtuBytes, address, ipv6Address, publicIp, publicIpv6 };
  logger.info("interface.chosen", `using interface ${name} to reach the peers`, facts);
  const identities = restoreIdentities(backends.modules, backend.type, remembered?.identities ?? {}, {
    devices: backend.devices,
    links,
    randomBytes,
  });
  const networks = [config.ipv4?.network, config.ipv6?.network].filter((network) => network !== undefined);
  const earlier = (remembered?.devices ?? []).filter((device) => !backend.devices.includes(device));
  const claims = DeviceClaims.take(backend.devices, backends.deviceKeys);
  const firewall = new Firewall({
    preferNftables: config.enableNftables,
    suffix: ruleSuffix(options.networkIdentity),
    networks,
    resyncMs: agentOptions.rules.resyncMs,
    logger,
    metrics,
    signal,
    onChange: onPass,
  });
  try {
    return await Network.open({
      backends,
      backend,
      identities,
      rules: agentOptions.rules,
      masqueradeExclude: config.masqueradeExclude,
      firewall,
      claims,
      externalInterface: chosen.interface,
      selection,
      // By now it may be another agent's: then it is not for us to remove.
      staleDevices: earlier.filter((device) => claims.tryAdd(device)),
      networks,
      descriptorKeeper: options.descriptorKeeper,
      rtnetlink,
      logger,
      metrics,
      signal,
      onPass,
      onExternalInterface: options.onExternalInterface,
    });
  } catch (error) {
    await firewall[Symbol.asyncDispose]();
    claims[Symbol.dispose]();
    throw error;
  }
}

function familiesOf(config: NetworkConfig): ReadonlySet<Family> {
  const families = new Set<Family>();
  if (config.ipv4 !== undefined) families.add(4);
  if (config.ipv6 !== undefined) families.add(6);
  return families;
}
