// An IPsec policy of the kernel (`ip xfrm policy`) as wanted and as found: key, comparison, ownership and text. Pure; the
// kind is xfrm-policy.ts. Its form is upstream's.
import type { Address, Prefix } from "../../ip/address.ts";
import { isInside } from "../../ip/prefix.ts";
import type { XfrmDirection, XfrmPolicy, XfrmSelector, XfrmTemplate } from "../../netlink/xfrm/xfrm-policy.ts";

/** Packets from `source` to `destination` travel in an ESP tunnel between two hosts. */
export interface HostXfrmPolicy {
  /** `fwd`: packets that this host forwards, as those of containers. */
  readonly direction: XfrmDirection;
  readonly source: Prefix;
  readonly destination: Prefix;
  /** Of the outer packets, as their end. */
  readonly tunnelSource: Address;
  readonly tunnelDestination: Address;
  /** Security associations with this number (reqid) serve it; ours and upstream's is 11. */
  readonly requestId: number;
}

export function xfrmPolicyKey({ direction, source, destination }: XfrmSelector): string {
  return `${direction} ${source} ${destination}`;
}

/** IPPROTO_ESP of linux/in.h. */
const ESP = 50;

/** What the kernel gets. */
export function policyOf(desired: HostXfrmPolicy): XfrmPolicy {
  const { direction, source, destination, tunnelSource, tunnelDestination, requestId } = desired;
  const template: XfrmTemplate = {
    source: tunnelSource,
    destination: tunnelDestination,
    protocol: ESP,
    requestId,
    mode: "tunnel",
    isOptional: false,
  };
  return { direction, source, destination, priority: 0, action: "allow", templates: [template], isNarrower: false };
}

export function isSamePolicy(a: XfrmPolicy, b: XfrmPolicy): boolean {
  return xfrmPolicyLine(a) === xfrmPolicyLine(b);
}

/**
 * Whether it is one that we or upstream wrote for the networks: one tunnel of ESP between two subnets of one of them, with the
 * number that we and upstream use.
 */
export function isFlannelPolicy(policy: XfrmPolicy, requestId: number, networks: readonly Prefix[]): boolean {
  const [template, ...more] = policy.templates;
  if (template === undefined || more.length > 0 || policy.isNarrower) return false;
  if (policy.priority !== 0 || policy.action !== "allow") return false;
  if (template.protocol !== ESP || template.mode !== "tunnel" || template.requestId !== requestId) return false;
  return networks.some((network) => [policy.source, policy.destination].every((prefix) => isInside(prefix, [network])));
}

/** As `ip xfrm policy` prints it, on one line. */
export function xfrmPolicyLine(policy: XfrmPolicy): string {
  const { direction, source, destination, priority, action, templates } = policy;
  const head = `xfrm policy src ${source} dst ${destination} dir ${direction} priority ${priority}`;
  const refusal = action === "allow" ? [] : ["action block"];
  return [head, ...refusal, ...templates.map(templateText)].join(" ");
}

function templateText({ source, destination, protocol, requestId, mode, isOptional }: XfrmTemplate): string {
  const level = isOptional ? " level use" : "";
  const name = protocol === ESP ? "esp" : String(protocol);
  return `tmpl src ${source} dst ${destination} proto ${name} reqid ${requestId} mode ${mode}${level}`;
}
