// What on this host keeps packets from flowing although every object of ours is in place: the run over the list of checks for
// which the agent has the facts.
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import type { Check, CheckContext } from "./check.ts";
import { deviceSetting } from "./checks/device-setting.ts";
import { ipForward } from "./checks/ip-forward.ts";
import { preflightChecks } from "./checks.ts";
import type { Finding } from "./finding.ts";
import { FactGatherer, type PacketDropFinder, readForwarding } from "./gather-facts.ts";
import { type FactName, type HostFacts, noFacts } from "./host-facts.ts";

export class Preflight {
  readonly #gatherer: FactGatherer;

  /** `netlink` stays the caller's. */
  constructor(
    netlink: Rtnetlink,
    findPacketDrops: PacketDropFinder,
    unreadableRules: () => HostFacts["unreadableRules"] = () => [],
    wayFindings: () => HostFacts["wayFindings"] = () => [],
  ) {
    this.#gatherer = new FactGatherer(netlink, findPacketDrops, unreadableRules, wayFindings);
  }

  /** What stands in the way now, worst first; throws only when the kernel cannot be read. */
  async evaluate(context: CheckContext, checks: readonly Check[] = preflightChecks): Promise<Finding[]> {
    return runChecks(context, await this.#gatherer.gather(neededFacts(context, checks), context), checks);
  }
}

/** Families and devices that are not forwarded: a few files are read, so that it can be asked all the time. */
export function forwardingFindings(context: CheckContext): Finding[] {
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
): Finding[] {
  const findings = checks.filter((check) => check.appliesTo(context)).flatMap((check) => check.run(context, facts));
  return findings.sort((a, b) => Number(b.severity === "error") - Number(a.severity === "error"));
}
