// What the checks of this host get to know of one network.
import type { Backend, BackendPlan, HostFacts } from "../../backend/backend.ts";
import type { CheckContext } from "../../doctor/check.ts";
import { scanContext } from "../../doctor/scan-context.ts";
import type { ScanContext } from "../../firewall/hook-packets.ts";
import { type Address, type Family, familyOf, type Prefix } from "../../ip/address.ts";
import { type Lease, type LeasedSubnets, prefixesOf } from "../../lease/lease.ts";
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

/** Besides, what probes of the peers have to know. */
export interface NetworkContext extends CheckContext {
  readonly backendType: string;
  mtuBytes(family: Family): number;
}

export function checkContext(known: NetworkFacts): NetworkContext {
  const { networks, selection, own, earlierSubnets, facts, backend, plan } = known;
  const { externalInterface } = facts;
  const held = prefixesOf(own);
  return {
    families: selection.families,
    networks,
    // Until the store has told, an earlier one may be ours still.
    ownSubnets: held.length === 0 ? earlierSubnets : held,
    earlierSubnets,
    externalInterface,
    devices: backend.devices,
    usesExternalDirectly:
      backend.devices.length === 0 ||
      plan.state.route?.some(({ device }) => device === externalInterface.name) === true,
    overlayMtuBytes: Math.min(...[...selection.families].map((family) => backend.mtuBytes(facts, family))),
    needs: backend.needs,
    backendType: backend.type,
    mtuBytes: (family) => backend.mtuBytes(facts, family),
  };
}

/** What of our traffic the rules of other programs are tried with. */
export function plannedScan(context: CheckContext, { state }: BackendPlan, peers: readonly Lease[]): ScanContext {
  const tunnel: Partial<Record<Family, string>> = {};
  for (const { destination, device } of state.route ?? []) tunnel[familyOf(destination)] ??= device;
  for (const { address, device } of state.address ?? []) tunnel[familyOf(address)] = device;
  return scanContext(context, { tunnel, peers: publicAddresses(peers) });
}

/** By the array of peers, which is the same until one changes: thousands of them are not gone through every two seconds. */
const known = new WeakMap<readonly Lease[], readonly Address[]>();

function publicAddresses(peers: readonly Lease[]): readonly Address[] {
  const addresses =
    known.get(peers) ??
    peers.flatMap(({ attributes }) => [attributes.publicIp, attributes.publicIpv6].filter((ip) => ip !== undefined));
  known.set(peers, addresses);
  return addresses;
}
