// Whether another program's policy rule takes packets for our networks before the main table with our routes is asked.
import { familyOf, prefixLength } from "../../ip/address.ts";
import { containsPrefix, hostText, networkOf } from "../../ip/prefix.ts";
import { ruleText, tableText } from "../../netlink/rtnetlink/rule.ts";
import { rtn } from "../../netlink/uapi.ts";
import { carriesTraffic, defineCheck } from "../check.ts";
import { runIp } from "../fix-step.ts";
import { type DivertingRule, divertingRules, type TableRoute } from "../policy-rules.ts";

export const policyRule = defineCheck({
  name: "policy-rule",
  severity: "warning",
  needs: ["policyRouting", "addresses"],
  appliesTo: carriesTraffic,
  check: ({ networks, ownSubnets, devices }, { policyRouting, addresses }) => {
    const bridges = addresses.filter(({ address }) =>
      ownSubnets.some((subnet) => containsPrefix(subnet, networkOf(address))),
    );
    const ours = new Set([...devices, ...bridges.map(({ device }) => device)]);
    return divertingRules(policyRouting, { networks, ownSubnets, devices: ours });
  },
  evidence: (diverting) =>
    `the policy rule "${ruleText(diverting.rule)}" ${fateText(diverting)}, before the lookup in the main table with flannel's routes`,
  remedy: (diverting) => `ip ${firstRule("add", diverting)}`,
  // What drops packets may be intended.
  fix: (diverting) =>
    diverting.route?.type === rtn.unicast ? [runIp(firstRule("add", diverting), firstRule("del", diverting))] : [],
});

/** That asks the main table before the rule does. */
function firstRule(verb: "add" | "del", { rule, network }: DivertingRule): string {
  const family = familyOf(network) === 6 ? "-6 " : "";
  return `${family}rule ${verb} pref ${Math.max(1, rule.priority - 1)} to ${network} lookup main`;
}

function fateText({ rule, network, route }: DivertingRule): string {
  if (route === undefined) return `drops packets for ${network}`;
  return `sends packets for ${network} to table ${tableText(rule.table)}, where the route "${routeText(route)}" matches`;
}

const routeTypeNames: ReadonlyMap<number, string> = new Map([
  [rtn.blackhole, "blackhole "],
  [rtn.unreachable, "unreachable "],
  [rtn.prohibit, "prohibit "],
]);

/** As in `ip route`. */
function routeText({ destination, type, gateway, device }: TableRoute): string {
  const to = prefixLength(destination) === 0 ? "default" : hostText(destination);
  const way = `${gateway === undefined ? "" : ` via ${gateway}`}${device === undefined ? "" : ` dev ${device}`}`;
  return `${routeTypeNames.get(type) ?? ""}${to}${way}`;
}
