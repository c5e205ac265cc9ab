// From configuration, own lease and nodes to the wanted rules. Pure.
import { type Address, type Family, familyOf, type Prefix, parsePrefix } from "../ip/address.ts";
import type { FamilyRules, PrefixMatch, Rule } from "./rule-set.ts";

export interface RuleInputs {
  /** The Network of each enabled family, and our own lease's subnet in it. */
  readonly families: readonly { readonly network: Prefix; readonly subnet: Prefix }[];
  /** `--ip-masq` */
  readonly masquerade: boolean;
  /** Not `--ip-masq-fully-random-disable` */
  readonly randomFully: boolean;
  /** `--iptables-forward-rules` */
  readonly forward: boolean;
  /** `--path-mtu=repair`, where a path carries less: TCP is to send segments that fit the routes. */
  readonly clampsMss?: boolean;
  /** Destinations outside of the network that see the containers' own addresses (MasqueradeExclude). */
  readonly excludedPrefixes: readonly Prefix[];
  /** Public addresses of all leases, to be left out too (`nodes` in MasqueradeExclude); missing: not asked for. */
  readonly nodes?: readonly Address[];
}

/** kube-proxy's mark for packets that it masquerades itself, and flannel has to leave to it. */
const MASQUERADE_MARK = 0x4000;
const multicast: Readonly<Record<Family, Prefix>> = { 4: parsePrefix("224.0.0.0/4"), 6: parsePrefix("ff00::/8") };

/** One entry for each family; chains that nobody asked for are missing. `canRandomFully`, `canClampMss`: whether the tool knows it. */
export function planRules(inputs: RuleInputs, canRandomFully: boolean, canClampMss = true): FamilyRules[] {
  return inputs.families.map(({ network, subnet }) => {
    const family = familyOf(network);
    const nodes = inputs.nodes?.filter((address) => familyOf(address) === family);
    return {
      family,
      network,
      ...(inputs.masquerade && {
        masquerade: masqueradeRules(network, subnet, inputs, canRandomFully && inputs.randomFully),
        ...(nodes !== undefined && { nodes: [...new Set(nodes)].sort() }),
      }),
      ...(inputs.forward && { forward: forwardRules(network) }),
      ...(inputs.clampsMss === true && canClampMss && { clamp: clampRules(network) }),
    };
  });
}

/**
 * The order and meaning of flannel's iptables rules. (Its nftables rules differ: "not from the own subnet to the network"
 * returns there, so that host traffic to containers elsewhere is never masqueraded and the answers may take another way.)
 */
function masqueradeRules(network: Prefix, subnet: Prefix, inputs: RuleInputs, randomFully: boolean): Rule[] {
  const family = familyOf(network);
  const excluded = inputs.excludedPrefixes.filter((prefix) => familyOf(prefix) === family);
  const masquerade = randomFully ? "masquerade-random" : "masquerade";
  return [
    { mark: MASQUERADE_MARK, verdict: "return" },
    { source: is(subnet), destination: is(network), verdict: "return" },
    { source: is(network), destination: is(subnet), verdict: "return" },
    { source: not(network), destination: is(subnet), verdict: "return" },
    ...excluded.map((prefix): Rule => ({ source: is(network), destination: is(prefix), verdict: "return" })),
    ...(inputs.nodes === undefined ? [] : [{ source: is(network), destination: "nodes", verdict: "return" } as const]),
    { source: is(network), destination: not(multicast[family]), verdict: masquerade },
    { source: not(network), destination: is(network), verdict: masquerade },
  ];
}

function forwardRules(network: Prefix): Rule[] {
  return [
    { source: is(network), verdict: "accept" },
    { destination: is(network), verdict: "accept" },
  ];
}

/** Only between containers: what leaves the network goes by other routes. */
function clampRules(network: Prefix): Rule[] {
  return [{ source: is(network), destination: is(network), verdict: "clamp-mss" }];
}

function is(prefix: Prefix): PrefixMatch {
  return { prefix, isNegated: false };
}

function not(prefix: Prefix): PrefixMatch {
  return { prefix, isNegated: true };
}
