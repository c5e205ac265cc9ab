// Writes the traffic rules beside the pass over the kernel, from what the agent knows of its network, and knows for which lease they
// are there.
import type { RuleOptions } from "../../config/agent-options.ts";
import type { MasqueradeExclude } from "../../config/network-config.ts";
import type { Firewall } from "../../firewall/firewall.ts";
import type { RuleInputs } from "../../firewall/plan-rules.ts";
import { familyOf, type Prefix } from "../../ip/address.ts";
import { type Lease, type LeasedSubnets, prefixesOf } from "../../lease/lease.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";

interface RuleSources {
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

export class RuleWriting {
  readonly #firewall: Firewall;
  readonly #onWritten: () => void;
  #wanted: LeasedSubnets | undefined;
  #written: LeasedSubnets | undefined;

  /** `onWritten`: the rules of another lease are there now, or have failed. */
  constructor(firewall: Firewall, onWritten: () => void) {
    this.#firewall = firewall;
    this.#onWritten = onWritten;
  }

  /** Before the subnet is announced the rules have to be there, but the peers do not need them. */
  write(own: LeasedSubnets, sources: RuleSources): void {
    this.#wanted = own;
    const done = () => {
      if (this.#wanted !== own || this.#written === own) return;
      this.#written = own;
      this.#onWritten();
    };
    this.#firewall.setDesired(ruleInputs(own, sources)).then(done, done);
  }

  isWrittenFor(own: LeasedSubnets): boolean {
    return this.#written === own;
  }
}

function ruleInputs(own: LeasedSubnets, sources: RuleSources): RuleInputs {
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
