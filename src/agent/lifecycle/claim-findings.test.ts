import { expect, test } from "vitest";
import { recordingLogger } from "../../../test/support/host-fixture.ts";
import type { SkippedLease } from "../../backend/peer-reach.ts";
import { ClaimLog, claimFindings, claimsOnOwnSubnet } from "./claim-findings.ts";

const skipped: readonly SkippedLease[] = [
  { key: "a", reason: "has no PublicIP" },
  { key: "b", reason: "overlaps it", conflict: "occupied" },
  { key: "c&d", reason: "overlaps ours", conflict: "own-subnet" },
];

test("what a lease would take is a finding, our own subnet first; what cannot be used is none", () => {
  expect(claimFindings(skipped)).toMatchObject([
    { severity: "error", evidence: "lease c&d is not served: overlaps ours", remedy: expect.stringContaining("'c&d'") },
    { severity: "warning", evidence: "lease b is not served: overlaps it" },
  ]);
  expect(claimsOnOwnSubnet(skipped)).toEqual(["lease c&d: overlaps ours"]);
  const many = Array.from({ length: 40 }, (_, index): SkippedLease => {
    return { key: `k${index}`, reason: "overlaps", conflict: "other-lease" };
  });
  const findings = claimFindings(many);
  expect(findings).toHaveLength(11);
  expect(findings.at(-1)?.evidence).toMatch(/^30 more leases/);
});

test("the log tells each once, and again when it has come back", () => {
  const { logger, lines } = recordingLogger();
  const log = new ClaimLog(logger);
  log.tell(skipped);
  log.tell(skipped);
  log.tell([]);
  log.tell(skipped.slice(0, 2));
  expect(lines.map(({ message }) => message)).toEqual([
    "lease b is not served: overlaps it",
    "lease c&d is not served: overlaps ours",
    "lease b is not served: overlaps it",
  ]);
});
