// Which policy rules (`ip rule`) take packets between containers away from the main table, where our routes are. Pure.
// In doubt nothing is said: a rule for some user, port or foreign interface may be intended.
import { type Address, familyOf, type Prefix, prefixLength } from "../ip/address.ts";
import { containsPrefix, overlaps } from "../ip/prefix.ts";
import { FLANNEL_PROTOCOL, type RuleMessage } from "../netlink/rtnetlink/messages.ts";
import { frAct, routeTable, rtn } from "../netlink/uapi.ts";

export interface PolicyRouting {
  /** In the order in which they are asked. */
  readonly rules: readonly RuleMessage[];
  /** By number: tables that rules lead to, at least those routes that overlap our networks. */
  readonly tables: ReadonlyMap<number, readonly TableRoute[]>;
}

export interface TableRoute {
  readonly destination: Prefix;
  /** RTN_*. */
  readonly type: number;
  readonly device?: string;
  readonly gateway?: Address;
  /** The main table has the same. */
  readonly isInMain: boolean;
}

/** What packets between containers look like on this host. */
export interface OverlayTraffic {
  readonly networks: readonly Prefix[];
  readonly ownSubnets: readonly Prefix[];
  /** Where they come in: our devices, and those that hold an address of our subnets. */
  readonly devices: ReadonlySet<string>;
}

export interface DivertingRule {
  readonly rule: RuleMessage;
  readonly network: Prefix;
  /** Missing when the rule itself drops. */
  readonly route?: TableRoute;
}

type Match = "always" | "sometimes" | "never";

/** At most one entry for each rule and network. */
export function divertingRules(routing: PolicyRouting, traffic: OverlayTraffic): DivertingRule[] {
  return traffic.networks.flatMap((network) => divertersOf(network, routing, traffic));
}

function divertersOf(network: Prefix, { rules, tables }: PolicyRouting, traffic: OverlayTraffic): DivertingRule[] {
  const found: DivertingRule[] = [];
  let jumpTo = 0;
  for (const rule of rules.filter(({ family }) => family === familyOf(network))) {
    if (rule.priority < jumpTo) continue;
    const match = matchOf(rule, network, traffic);
    if (match === "never") continue;
    const diverter = diverterOf(rule, network, tables, traffic);
    if (diverter !== undefined) found.push(diverter);
    if (match !== "always") continue;
    if (rule.action === frAct.goto) jumpTo = rule.gotoPriority ?? jumpTo;
    if (diverter !== undefined || leadsToOurRoutes(rule, network)) break;
  }
  return found;
}

/** A look-up that ignores short prefixes finds our routes all the same. */
function leadsToOurRoutes({ action, table, suppressPrefixLength = -1 }: RuleMessage, network: Prefix): boolean {
  return action === frAct.toTable && table === routeTable.main && suppressPrefixLength < prefixLength(network);
}

function diverterOf(
  rule: RuleMessage,
  network: Prefix,
  tables: PolicyRouting["tables"],
  traffic: OverlayTraffic,
): DivertingRule | undefined {
  if (rule.protocol === FLANNEL_PROTOCOL) return undefined;
  if (isDrop(rule.action)) return { rule, network };
  if (rule.action !== frAct.toTable || isSystemTable(rule.table)) return undefined;
  const route = divertingRoute(rule, network, tables.get(rule.table) ?? [], traffic);
  return route === undefined ? undefined : { rule, network, route };
}

function isDrop(action: number): boolean {
  return action === frAct.blackhole || action === frAct.unreachable || action === frAct.prohibit;
}

/** Of `local` only our own addresses are found; `default` comes after main. */
export function isSystemTable(table: number): boolean {
  return table === routeTable.main || table === routeTable.local || table === routeTable.default;
}

/** The route that takes the whole network, else one that takes a part of it. */
function divertingRoute(
  { suppressPrefixLength = -1 }: RuleMessage,
  network: Prefix,
  routes: readonly TableRoute[],
  { ownSubnets, devices }: OverlayTraffic,
): TableRoute | undefined {
  const counted = routes.filter(({ destination }) => prefixLength(destination) > suppressPrefixLength);
  const leadsAway = ({ type, device }: TableRoute): boolean =>
    type !== rtn.throw && (device === undefined || !devices.has(device));
  const [covering] = counted
    .filter(({ destination }) => containsPrefix(destination, network))
    .sort((a, b) => prefixLength(b.destination) - prefixLength(a.destination));
  if (covering !== undefined && leadsAway(covering)) return covering;
  return counted.find(
    (route) =>
      leadsAway(route) &&
      !route.isInMain &&
      containsPrefix(network, route.destination) &&
      !ownSubnets.some((subnet) => containsPrefix(subnet, route.destination)),
  );
}

function matchOf(rule: RuleMessage, network: Prefix, traffic: OverlayTraffic): Match {
  if (rule.hasOtherSelectors || rule.isL3mdev) return "never";
  const selectors = [
    matchOfPrefix(rule.from, network),
    matchOfPrefix(rule.to, network),
    matchOfMark(rule),
    matchOfDevices(rule, traffic),
  ];
  const match = selectors.includes("never") ? "never" : selectors.includes("sometimes") ? "sometimes" : "always";
  if (!rule.isInverted || match === "sometimes") return match;
  return match === "always" ? "never" : "always";
}

function matchOfPrefix(selector: Prefix | undefined, network: Prefix): Match {
  if (selector === undefined || containsPrefix(selector, network)) return "always";
  return overlaps(selector, network) ? "sometimes" : "never";
}

/** Packets between containers bear no mark. */
function matchOfMark({ fwmark = 0 }: RuleMessage): Match {
  return fwmark === 0 ? "always" : "never";
}

function matchOfDevices({ incomingDevice, outgoingDevice }: RuleMessage, { devices }: OverlayTraffic): Match {
  // Only sockets that are bound to a device have an outgoing one before they are routed.
  if (outgoingDevice !== undefined) return "never";
  if (incomingDevice === undefined) return "always";
  return incomingDevice === "lo" || devices.has(incomingDevice) ? "sometimes" : "never";
}
