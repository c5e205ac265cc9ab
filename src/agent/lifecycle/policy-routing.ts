// Policy rules of this agent's networks: a network with a routing table of its own, and networks that are kept apart. Pure.
import type { BackendPlan } from "../../backend/backend.ts";
import type { Routing, RoutingRule } from "../../config/network-config.ts";
import type { HostBlackhole } from "../../host/kinds/blackhole.ts";
import { ISOLATION_TABLE, tableOf } from "../../host/kinds/links.ts";
import type { HostRule } from "../../host/kinds/rule.ts";
import { type Family, familyOf, type Prefix } from "../../ip/address.ts";

/** Before the rules of VPNs: those of Tailscale begin at 5210, those of wg-quick stand right before the main table's. */
const PRIORITY = { ownTable: 2_410, inside: 2_411, outside: 2_412, arriving: 2_413 } as const;

/**
 * The network's routes stand in its own table, and policy rules lead there. What arrives by one of its `devices` is for containers
 * of this host, whose routes stand in the main table: without a rule a VPN's would come first.
 */
export function withRouting(
  plan: BackendPlan,
  routing: Routing,
  families: ReadonlySet<Family>,
  devices: readonly string[],
): BackendPlan {
  const { state } = plan;
  const { table, rules } = routing;
  const arriving = devices.flatMap((incomingDevice) =>
    [...families].map((family) => ({ family, priority: PRIORITY.arriving, table: tableOf({}), incomingDevice })),
  );
  const rule = [...rules.flatMap((one) => hostRules(one, table, families)), ...arriving];
  const route = (state.route ?? []).map((one) => ({ ...one, table }));
  return { ...plan, state: { ...state, route, rule: [...(state.rule ?? []), ...rule] } };
}

function hostRules(rule: RoutingRule, table: number, families: ReadonlySet<Family>): HostRule[] {
  const { incomingDevice, from, mark, mask } = rule;
  const served = [...families].filter((family) => from === undefined || familyOf(from) === family);
  return served.map((family) => ({
    family,
    priority: PRIORITY.ownTable,
    table,
    ...(incomingDevice !== undefined && { incomingDevice }),
    ...(from !== undefined && { from }),
    ...(mark !== undefined && { fwmark: mark, ...(mask !== undefined && { fwmask: mask }) }),
  }));
}

/**
 * Keeps the networks of one agent apart: without it this host would route packets from one to another. Two rules and a route for
 * each network, whatever the number of others: what stays inside goes on, what leaves meets a table of prohibitions.
 */
export function withIsolation(plan: BackendPlan, networks: readonly Prefix[]): BackendPlan {
  const { state } = plan;
  const rule = networks.flatMap((network): HostRule[] => {
    const of = { family: familyOf(network), from: network };
    return [
      { ...of, to: network, priority: PRIORITY.inside, table: tableOf({}) },
      { ...of, priority: PRIORITY.outside, table: ISOLATION_TABLE },
    ];
  });
  const prohibited = networks.map((destination): HostBlackhole => ({ destination, table: ISOLATION_TABLE }));
  const blackhole = [...(state.blackhole ?? []), ...prohibited];
  return { ...plan, state: { ...state, blackhole, rule: [...(state.rule ?? []), ...rule] } };
}
