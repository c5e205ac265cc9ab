// From a network configuration to a Network: the backend, the external interface, stable MACs, the reconciler.
import { randomBytes } from "node:crypto";
import { createBackend } from "../../backend/registry.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import type { NetworkConfig } from "../../config/network-config.ts";
import { Firewall } from "../../firewall/firewall.ts";
import { ruleSuffix } from "../../firewall/rule-suffix.ts";
import type { Family } from "../../ip/address.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { DescriptorKeeper } from "../../sys/service-descriptors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { selectExternalInterface } from "../../underlay/external-interface-watch.ts";
import type { InterfaceOptions } from "../../underlay/interface-choice.ts";
import { DeviceClaims } from "../state/device-claims.ts";
import type { RememberedState } from "../state/warm-state.ts";
import { Network, type NetworkOptions } from "./network.ts";

export interface OpenNetworkOptions {
  readonly config: NetworkConfig;
  readonly agentOptions: AgentOptions;
  readonly remembered: RememberedState | undefined;
  readonly descriptorKeeper: DescriptorKeeper;
  readonly rtnetlink: Rtnetlink;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly onPass: NetworkOptions["onPass"];
  readonly onExternalInterface: NetworkOptions["onExternalInterface"];
}

/** Throws `config.invalid`, `interface.notFound`, or `agent.running` when another agent keeps our device. */
export async function openNetwork(options: OpenNetworkOptions): Promise<Network> {
  const { config, agentOptions, remembered, descriptorKeeper, rtnetlink, logger, signal, onPass, onExternalInterface } =
    options;
  const backend = createBackend(config);
  const selection: InterfaceOptions = {
    families: familiesOf(config),
    interfaces: agentOptions.interfaces,
    interfaceRegexes: agentOptions.interfaceRegexes,
    ...(agentOptions.canReach !== undefined && { canReach: agentOptions.canReach }),
    ...(agentOptions.publicIp !== undefined && { publicIp: agentOptions.publicIp }),
    ...(agentOptions.publicIpv6 !== undefined && { publicIpv6: agentOptions.publicIpv6 }),
  };
  const chosen = await selectExternalInterface(selection, rtnetlink);
  for (const warning of chosen.warnings) logger.warn("interface.odd", warning);
  const { name, mtuBytes, address, ipv6Address, publicIp, publicIpv6 } = chosen.interface;
  const facts = { interface: name, mtuBytes, address, ipv6Address, publicIp, publicIpv6 };
  logger.info("interface.chosen", `using interface ${name} to reach the other hosts`, facts);
  const macs = await chooseMacs(backend.devices, remembered, rtnetlink);
  const networks = [config.ipv4?.network, config.ipv6?.network].filter((network) => network !== undefined);
  const earlier = (remembered?.devices ?? []).filter((device) => !backend.devices.includes(device));
  const claims = DeviceClaims.take(backend.devices);
  const firewall = new Firewall({
    preferNftables: config.enableNftables,
    suffix: ruleSuffix(agentOptions.etcd.prefix),
    networks,
    resyncMs: agentOptions.rules.resyncMs,
    logger,
    signal,
    onChange: onPass,
  });
  try {
    return await Network.open({
      backend,
      rules: agentOptions.rules,
      masqueradeExclude: config.masqueradeExclude,
      firewall,
      claims,
      externalInterface: chosen.interface,
      selection,
      ...macs,
      // By now it may be another agent's: then it is not for us to remove.
      staleDevices: earlier.filter((device) => claims.tryAdd(device)),
      networks,
      descriptorKeeper,
      rtnetlink,
      logger,
      signal,
      onPass,
      onExternalInterface,
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

/** A living device's MAC (ours or upstream's) is what the peers know; else the remembered one; else a new one. */
async function chooseMacs(devices: readonly string[], remembered: RememberedState | undefined, rtnetlink: Rtnetlink) {
  const links = await rtnetlink.dump("link");
  const living = (isV6: boolean) =>
    links.find((link) => link.kind === "vxlan" && devices.includes(link.name) && link.name.includes("-v6.") === isV6)
      ?.mac;
  return {
    vtepMac: living(false) ?? remembered?.vtepMac ?? randomMac(),
    vtepMacV6: living(true) ?? remembered?.vtepMacV6 ?? randomMac(),
  };
}

/** Locally administered, unicast (IEEE 802). */
function randomMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfe) | 0x02;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}
