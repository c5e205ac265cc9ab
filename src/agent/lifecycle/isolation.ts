// Keeps the networks of one agent apart: without it this host would route packets from one to another. Pure. Two rules and a
// route for each network, whatever the number of others: what stays inside goes on, what leaves meets a table of prohibitions.
import type { BackendPlan } from "../../backend/backend.ts";
import type { HostBlackhole } from "../../host/kinds/blackhole.ts";
import { ISOLATION_TABLE, tableOf } from "../../host/kinds/links.ts";
import type { HostRule } from "../../host/kinds/rule.ts";
import { familyOf, type Prefix } from "../../ip/address.ts";

/** Behind those that lead to networks' own tables (own-table.ts). */
const PRIORITY = { inside: 2_411, outside: 2_412 } as const;

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
