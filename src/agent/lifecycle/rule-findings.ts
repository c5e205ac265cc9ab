// What holds up the writing of traffic rules. Told without a look at the rules, which would wait for the same.
import type { Finding } from "../../doctor/finding.ts";
import type { FirewallStatus } from "../../firewall/firewall-status.ts";

export function ruleFindings({ waitsFor }: Pick<FirewallStatus, "waitsFor">): Finding[] {
  if (waitsFor === undefined) return [];
  return [
    {
      name: "xtables-lock",
      severity: "warning",
      evidence: waitsFor,
      remedy: "wait for that program, or end it if it hangs; flannel writes its rules when the lock is free",
    },
  ];
}
