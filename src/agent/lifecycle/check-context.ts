// What the checks of this host are told of one network.
import type { Backend, BackendPlan, HostFacts } from "../../backend/backend.ts";
import type { CheckContext } from "../../doctor/check.ts";
import type { Prefix } from "../../ip/address.ts";
import { type LeasedSubnets, prefixesOf } from "../../lease/lease.ts";
import type { InterfaceOptions } from "../../underlay/interface-facts.ts";

interface NetworkFacts {
  readonly networks: readonly Prefix[];
  readonly selection: InterfaceOptions;
  readonly own: LeasedSubnets | undefined;
  readonly earlierSubnets: readonly Prefix[];
  readonly facts: HostFacts;
  readonly backend: Backend;
  readonly plan: BackendPlan;
}

export function checkContext(known: NetworkFacts): CheckContext {
  const { networks, selection, own, earlierSubnets, facts, backend, plan } = known;
  const { externalInterface } = facts;
  return {
    families: selection.families,
    networks,
    ownSubnets: prefixesOf(own),
    earlierSubnets,
    externalInterface,
    devices: backend.devices,
    usesExternalDirectly:
      backend.devices.length === 0 ||
      plan.state.route?.some(({ device }) => device === externalInterface.name) === true,
    overlayMtuBytes: Math.min(...[...selection.families].map((family) => backend.mtuBytes(facts, family))),
    needs: backend.needs,
  };
}
