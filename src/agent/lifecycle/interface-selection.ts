// How the external interface is chosen: the operator's flags, and the addresses that this host announced before. Pure.
import type { AgentOptions } from "../../config/agent-options.ts";
import type { Address, Family } from "../../ip/address.ts";
import type { LinkMessage } from "../../netlink/rtnetlink/messages.ts";
import type { InterfaceOptions } from "../../underlay/interface-facts.ts";
import type { RememberedState } from "../state/warm-state.ts";

export interface SelectionSources {
  readonly agentOptions: AgentOptions;
  readonly families: ReadonlySet<Family>;
  readonly remembered: RememberedState | undefined;
  /** All of this host. */
  readonly links: readonly LinkMessage[];
  readonly overlayDevices: readonly string[];
}

export function interfaceSelection(sources: SelectionSources): InterfaceOptions {
  const { agentOptions, families, overlayDevices } = sources;
  const { interfaces, interfaceRegexes, canReach, publicIp, publicIpv6 } = agentOptions;
  return {
    families,
    interfaces,
    interfaceRegexes,
    remembered: new Set(announcedBefore(sources)),
    overlayDevices,
    ...(canReach !== undefined && { canReach }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
  };
}

/** The flags that choose interface and addresses, as one text. */
export function selectionText(options: AgentOptions): string {
  const { interfaces, interfaceRegexes, canReach, publicIp, publicIpv6 } = options;
  return JSON.stringify({ interfaces, interfaceRegexes, canReach, publicIp, publicIpv6 });
}

/**
 * What is remembered counts unless the operator has changed the flags since. Without it the living devices tell, ours or
 * upstream's: they are bound to the address that their host announces.
 */
function announcedBefore({ agentOptions, remembered, links, overlayDevices }: SelectionSources): readonly Address[] {
  if (remembered === undefined) {
    const devices = links.filter(({ name }) => overlayDevices.includes(name));
    return devices.flatMap(({ vxlan }) => vxlan?.local ?? []);
  }
  const { chosen, publicIp, publicIpv6 } = remembered;
  if (chosen !== undefined && chosen.flags !== selectionText(agentOptions)) return [];
  return [...(chosen?.addresses ?? []), publicIp, publicIpv6].filter((address) => address !== undefined);
}
