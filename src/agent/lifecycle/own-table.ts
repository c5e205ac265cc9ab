// A network with a routing table of its own: its routes stand there, and policy rules lead there. Pure.
import type { BackendPlan } from "../../backend/backend.ts";
import type { Routing, RoutingRule } from "../../config/network-config.ts";
import type { HostRule } from "../../host/kinds/rule.ts";
import { type Family, familyOf } from "../../ip/address.ts";

/** Before the rules of VPNs: those of Tailscale begin at 5210, those of wg-quick stand right before the main table's. */
const PRIORITY = 2_410;

export function withRouting(
  plan: BackendPlan,
  routing: Routing | undefined,
  families: ReadonlySet<Family>,
): BackendPlan {
  if (routing === undefined) return plan;
  const { state } = plan;
  const { table, rules } = routing;
  const rule = rules.flatMap((one) => hostRules(one, table, families));
  const route = (state.route ?? []).map((one) => ({ ...one, table }));
  return { ...plan, state: { ...state, route, rule: [...(state.rule ?? []), ...rule] } };
}

function hostRules(rule: RoutingRule, table: number, families: ReadonlySet<Family>): HostRule[] {
  const { incomingDevice, from, mark, mask } = rule;
  const served = [...families].filter((family) => from === undefined || familyOf(from) === family);
  return served.map((family) => ({
    family,
    priority: PRIORITY,
    table,
    ...(incomingDevice !== undefined && { incomingDevice }),
    ...(from !== undefined && { from }),
    ...(mark !== undefined && { fwmark: mark, ...(mask !== undefined && { fwmask: mask }) }),
  }));
}
