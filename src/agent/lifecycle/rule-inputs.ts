// From what the agent knows of its network to what the traffic rules are planned from. Pure.
import type { RuleOptions } from "../../config/agent-options.ts";
import type { MasqueradeExclude } from "../../config/network-config.ts";
import type { RuleInputs } from "../../firewall/plan-rules.ts";
import { familyOf, type Prefix } from "../../ip/address.ts";
import { type Lease, type LeasedSubnets, prefixesOf } from "../../lease/lease.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";

export interface RuleSources {
  readonly networks: readonly Prefix[];
  readonly rules: RuleOptions;
  readonly masqueradeExclude: MasqueradeExclude | undefined;
  /** See `Backend.furtherNetworks`. */
  readonly furtherNetworks: readonly Prefix[];
  readonly externalInterface: ExternalInterface;
  readonly peers: readonly Lease[];
  /** Some path carries less than containers send. */
  readonly clampsMss: boolean;
}

export function ruleInputs(own: LeasedSubnets, sources: RuleSources): RuleInputs {
  const { networks, rules, externalInterface, peers } = sources;
  const subnets = prefixesOf(own);
  const { prefixes = [], nodes = false } = sources.masqueradeExclude ?? {};
  const { publicIp, publicIpv6 } = externalInterface;
  const addresses = peers.flatMap(({ attributes }) => [attributes.publicIp, attributes.publicIpv6]);
  return {
    families: networks.flatMap((network) => {
      const subnet = subnets.find((candidate) => familyOf(candidate) === familyOf(network));
      return subnet === undefined ? [] : [{ network, subnet }];
    }),
    masquerade: rules.masquerade,
    randomFully: rules.randomFully,
    forward: rules.forward,
    clampsMss: sources.clampsMss,
    excludedPrefixes: [...new Set([...prefixes, ...sources.furtherNetworks])],
    ...(nodes && { nodes: [publicIp, publicIpv6, ...addresses].filter((address) => address !== undefined) }),
  };
}
