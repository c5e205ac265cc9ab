// What on this host keeps packets from flowing although every object of ours is in place: the list of checks, and the run
// over it. A further check is a file in checks/ and a line here.
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import type { Check, CheckContext } from "./check.ts";
import { deviceSetting } from "./checks/device-setting.ts";
import { externalMtu } from "./checks/external-mtu.ts";
import { forwardPolicy } from "./checks/forward-policy.ts";
import { ipForward } from "./checks/ip-forward.ts";
import { ipsecDaemon } from "./checks/ipsec-daemon.ts";
import { kernelFeature } from "./checks/kernel-feature.ts";
import { networkOverlap } from "./checks/network-overlap.ts";
import { newDevices } from "./checks/new-devices.ts";
import { outdatedBridge } from "./checks/outdated-bridge.ts";
import { containerDrop, packetDrop } from "./checks/packet-drop.ts";
import { policyRule } from "./checks/policy-rule.ts";
import { portInUse } from "./checks/port-in-use.ts";
import { rpFilter } from "./checks/rp-filter.ts";
import { rulesUnreadable } from "./checks/rules-unreadable.ts";
import type { CheckFinding } from "./finding.ts";
import { FactGatherer, type PacketDropFinder, readForwarding } from "./gather-facts.ts";
import { type FactName, type HostFacts, noFacts } from "./host-facts.ts";

export const preflightChecks: readonly Check[] = [
  kernelFeature,
  ipsecDaemon,
  ipForward,
  deviceSetting,
  newDevices,
  rpFilter,
  externalMtu,
  forwardPolicy,
  packetDrop,
  containerDrop,
  rulesUnreadable,
  portInUse,
  policyRule,
  outdatedBridge,
  networkOverlap,
];

export class Preflight {
  readonly #gatherer: FactGatherer;

  /** `netlink` stays the caller's. */
  constructor(
    netlink: Rtnetlink,
    findPacketDrops: PacketDropFinder,
    unreadableRules: () => HostFacts["unreadableRules"] = () => [],
  ) {
    this.#gatherer = new FactGatherer(netlink, findPacketDrops, unreadableRules);
  }

  /** What stands in the way now, worst first; throws only when the kernel cannot be read. */
  async evaluate(context: CheckContext, checks: readonly Check[] = preflightChecks): Promise<CheckFinding[]> {
    return runChecks(context, await this.#gatherer.gather(neededFacts(context, checks), context), checks);
  }
}

/** What is dropped by the rules of other programs. */
export const dropChecks: readonly Check[] = [forwardPolicy, packetDrop, containerDrop];

/** Families and devices that are not forwarded: a few files are read, so that it can be asked all the time. */
export function forwardingFindings(context: CheckContext): CheckFinding[] {
  return runChecks(context, { ...noFacts, sysctls: readForwarding(context) }, [ipForward, deviceSetting]);
}

export function neededFacts(context: CheckContext, checks: readonly Check[]): ReadonlySet<FactName> {
  return new Set(checks.filter((check) => check.appliesTo(context)).flatMap(({ needs }) => needs));
}

/** Errors first, else in the order of the list. Pure. */
export function runChecks(
  context: CheckContext,
  facts: HostFacts,
  checks: readonly Check[] = preflightChecks,
): CheckFinding[] {
  const findings = checks.filter((check) => check.appliesTo(context)).flatMap((check) => check.run(context, facts));
  return findings.sort((a, b) => Number(b.severity === "error") - Number(a.severity === "error"));
}
