// What on this host keeps packets from flowing although every object of ours is in place: judged from gathered facts,
// each finding with the command that cures it. Pure; gathering is preflight-facts.ts.
import type { HostNeeds } from "../backend/backend.ts";
import type { ForwardDrop } from "../firewall/forward-drops.ts";
import { type Family, familyOf, type Prefix, prefixAddress, prefixLength } from "../ip/address.ts";
import { containsPrefix, hostText, networkOf, overlaps } from "../ip/prefix.ts";
import { ruleText, tableText } from "../netlink/rtnetlink/rule.ts";
import { rtn } from "../netlink/uapi.ts";
import type { ExternalInterface, FamilySet } from "../underlay/external-interface.ts";
import { type DivertingRule, divertingRules, type PolicyRouting, type TableRoute } from "./policy-rules.ts";

/** As in the control protocol. */
export interface PreflightFinding {
  readonly check: PreflightCheck;
  readonly severity: "warning" | "error";
  readonly message: string;
  readonly cure: string;
}
export type PreflightCheck =
  | "ip-forward"
  | "rp-filter"
  | "network-overlap"
  | "external-mtu"
  | "forward-policy"
  | "port-in-use"
  | "kernel-feature"
  | "policy-rule";

/** What we are about to do on this host. */
export interface PreflightContext {
  readonly families: FamilySet;
  readonly networks: readonly Prefix[];
  /** Our own lease: what lies in it (the bridge of the containers) belongs there. */
  readonly ownSubnets: readonly Prefix[];
  readonly externalInterface: ExternalInterface;
  /** Our devices; empty for backends without. */
  readonly devices: readonly string[];
  /** Largest packet between containers. */
  readonly overlayMtuBytes: number;
  /** What the backend asks of the host. */
  readonly needs: HostNeeds;
}

/** What was found; a missing fact could not be had and gives no finding. */
export interface PreflightFacts {
  /** Values of /proc/sys by key with slashes. */
  readonly sysctls: ReadonlyMap<string, string>;
  /** Unicast routes of the main table and addresses, with the device they are on. Not ours. */
  readonly routes: readonly { readonly destination: Prefix; readonly device: string; readonly hasGateway: boolean }[];
  readonly addresses: readonly { readonly address: Prefix; readonly device: string }[];
  readonly forwardDrops: readonly ForwardDrop[];
  /** UDP ports bound by sockets other than those of vxlan devices. */
  readonly foreignUdpPorts: ReadonlySet<number>;
  readonly policyRouting: PolicyRouting;
  /** The kernel's words when it refused to make a device of the kind that is needed. */
  readonly deviceRefusal?: string;
}

export function forwardingKeyOf(family: Family): string {
  return family === 4 ? "net/ipv4/ip_forward" : "net/ipv6/conf/all/forwarding";
}

export function rpFilterKeyOf(device: string): string {
  return `net/ipv4/conf/${device}/rp_filter`;
}

/** Every check, worst first. */
export function evaluatePreflight(context: PreflightContext, facts: PreflightFacts): PreflightFinding[] {
  const findings = [
    ...kernelFeature(context, facts),
    ...(context.needs.carriesTraffic ? trafficFindings(context, facts) : []),
    ...networkOverlap(context, facts),
  ];
  return findings.sort((a, b) => Number(b.severity === "error") - Number(a.severity === "error"));
}

function trafficFindings(context: PreflightContext, facts: PreflightFacts): PreflightFinding[] {
  return [
    ...ipForward(context, facts),
    ...rpFilter(context, facts),
    ...externalMtu(context),
    ...forwardPolicy(context, facts),
    ...portInUse(context, facts),
    ...policyRule(context, facts),
  ];
}

function kernelFeature({ needs }: PreflightContext, { deviceRefusal }: PreflightFacts): PreflightFinding[] {
  if (needs.kernelDevice === undefined || deviceRefusal === undefined) return [];
  const { kind } = needs.kernelDevice;
  const message = `this kernel makes no ${kind} devices (${deviceRefusal}): containers cannot reach other hosts`;
  return [{ check: "kernel-feature", severity: "error", message, cure: `modprobe ${kind}` }];
}

function ipForward({ families }: PreflightContext, { sysctls }: PreflightFacts): PreflightFinding[] {
  return [...families].sort().flatMap((family): PreflightFinding[] => {
    const key = forwardingKeyOf(family);
    if (sysctls.get(key) !== "0") return [];
    const message = `IPv${family} forwarding is off: packets from and to containers are dropped on this host`;
    return [{ check: "ip-forward", severity: "error", message, cure: `sysctl -w ${key.replaceAll("/", ".")}=1` }];
  });
}

/** The kernel takes the larger of `all` and the device's own value; 1 is strict, 2 is loose. */
function rpFilter(context: PreflightContext, { sysctls }: PreflightFacts): PreflightFinding[] {
  if (!context.families.has(4)) return [];
  const all = Number(sysctls.get(rpFilterKeyOf("all")) ?? 0);
  const strict = [context.externalInterface.name, ...context.devices].filter(
    (device) => Math.max(all, Number(sysctls.get(rpFilterKeyOf(device)) ?? 0)) === 1,
  );
  if (strict.length === 0) return [];
  const message =
    `strict reverse path filtering on ${strict.join(", ")}: packets whose answer would leave through another ` +
    "interface are dropped without a trace (counter IPReversePathFilter in nstat)";
  // 2 in `all` outweighs a device's 1, also on devices that are made later.
  return [{ check: "rp-filter", severity: "warning", message, cure: "sysctl -w net.ipv4.conf.all.rp_filter=2" }];
}

const MIN_IPV4_MTU_BYTES = 576;
const MIN_IPV6_MTU_BYTES = 1_280;

function externalMtu({ families, externalInterface, overlayMtuBytes }: PreflightContext): PreflightFinding[] {
  const needed = families.has(6) ? MIN_IPV6_MTU_BYTES : MIN_IPV4_MTU_BYTES;
  if (overlayMtuBytes >= needed) return [];
  const { name, mtuBytes } = externalInterface;
  const enough = needed + Math.max(0, mtuBytes - overlayMtuBytes);
  const message =
    `the MTU of ${name} is ${mtuBytes}, which leaves ${overlayMtuBytes} bytes for packets of containers; ` +
    `${families.has(6) ? "IPv6" : "IPv4"} needs ${needed}`;
  return [{ check: "external-mtu", severity: "error", message, cure: `ip link set dev ${name} mtu ${enough}` }];
}

function forwardPolicy(context: PreflightContext, { forwardDrops }: PreflightFacts): PreflightFinding[] {
  const relevant = forwardDrops.filter(({ family }) => family === "both" || context.families.has(family));
  return relevant.map(({ chain, by, cure }) => ({
    check: "forward-policy",
    severity: "warning",
    message: `${chain} drops forwarded packets (${by}): those of containers pass only where a rule of it accepts them`,
    cure: cure.replaceAll("NETWORK", context.networks[0] ?? "NETWORK"),
  }));
}

function portInUse({ needs }: PreflightContext, { foreignUdpPorts }: PreflightFacts): PreflightFinding[] {
  if (needs.kernelDevice === undefined) return [];
  const { kind, udpPort: port } = needs.kernelDevice;
  if (!foreignUdpPorts.has(port)) return [];
  const message = `UDP port ${port} is taken by a program, so the ${kind} device cannot receive`;
  const cure = `ss -ulpn 'sport = :${port}' # stop that program, or set another Backend.Port in the network config`;
  return [{ check: "port-in-use", severity: "error", message, cure }];
}

function networkOverlap(context: PreflightContext, { routes, addresses }: PreflightFacts): PreflightFinding[] {
  const { networks, ownSubnets } = context;
  const isElsewhere = (prefix: Prefix): boolean =>
    !ownSubnets.some((subnet) => containsPrefix(subnet, networkOf(prefix)));
  const clashes = new Set<string>();
  for (const network of networks) {
    for (const { address, device } of addresses) {
      if (overlaps(network, address) && isElsewhere(address)) clashes.add(`${network} with ${address} of ${device}`);
    }
    for (const { destination, device, hasGateway } of routes) {
      // A route by gateway inside the network leads to a peer: another agent's, or one of upstream's that we adopt.
      if (prefixAddress(destination) === "0.0.0.0" || prefixAddress(destination) === "::") continue;
      if (hasGateway && containsPrefix(network, destination)) continue;
      const isConnected = addresses.some(
        (found) => networkOf(found.address) === destination && found.device === device,
      );
      if (!isConnected && overlaps(network, destination) && isElsewhere(destination)) {
        clashes.add(`${network} with the route ${destination} dev ${device}`);
      }
    }
  }
  if (clashes.size === 0) return [];
  const message = `the network of the containers overlaps what this host already uses: ${[...clashes].join("; ")}`;
  const cure = "flannelctl config set # with a Network that is free on all hosts";
  return [{ check: "network-overlap", severity: "warning", message, cure }];
}

function policyRule(context: PreflightContext, { policyRouting, addresses }: PreflightFacts): PreflightFinding[] {
  const { networks, ownSubnets } = context;
  const bridges = addresses.filter(({ address }) =>
    ownSubnets.some((subnet) => containsPrefix(subnet, networkOf(address))),
  );
  const devices = new Set([...context.devices, ...bridges.map(({ device }) => device)]);
  return divertingRules(policyRouting, { networks, ownSubnets, devices }).map((diverting): PreflightFinding => {
    const { rule, network } = diverting;
    const family = familyOf(network) === 6 ? "-6 " : "";
    return {
      check: "policy-rule",
      severity: "warning",
      message: `the policy rule "${ruleText(rule)}" ${fateText(diverting)}, before the main table with flannel's routes is asked`,
      cure: `ip ${family}rule add pref ${Math.max(0, rule.priority - 1)} to ${network} lookup main`,
    };
  });
}

function fateText({ rule, network, route }: DivertingRule): string {
  if (route === undefined) return `drops packets for ${network}`;
  return `sends packets for ${network} to table ${tableText(rule.table)}, where they find "${routeText(route)}"`;
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
