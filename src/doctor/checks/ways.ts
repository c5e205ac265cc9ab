// What the kernel's own answers for packets to and from peers say: each finding of a look at the ways is reported by the check of
// its name.
import { type Check, carriesTraffic, defineCheck } from "../check.ts";
import type { FindingName } from "../finding.ts";

const names: readonly FindingName[] = [
  ...(["underlay-no-route", "device-sysctl-off", "rp-filter-strict", "nexthop-offlink"] as const),
  ...(["policy-rule", "route-more-specific", "network-overlap"] as const),
];

export const wayChecks: readonly Check[] = names.map((name) =>
  defineCheck({
    name,
    severity: "error",
    needs: ["wayFindings"],
    appliesTo: carriesTraffic,
    check: (_context, { wayFindings }) => wayFindings.filter((finding) => finding.name === name),
    evidence: ({ evidence }) => evidence,
    remedy: ({ remedy }) => remedy,
    fix: ({ fix = [] }) => fix,
  }),
);
