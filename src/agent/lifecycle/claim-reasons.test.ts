import { expect, test } from "vitest";
import { stateOf } from "./agent-state.ts";
import { claimReasons } from "./claim-reasons.ts";

test("a claim on what is ours is not ready; the first is reported, the others are counted", () => {
  const reasons = claimReasons({
    subnetClaims: ["lease a: x", "lease b: y", "lease c: z"],
    addressConflicts: ["lease d announces it", "lease e announces it"],
  });
  expect(reasons.map(({ name, message }) => `${name}: ${message}`)).toEqual([
    "subnet-claimed: another lease claims this host's subnet: lease a: x and 2 other leases",
    "public-ip-shared: lease d announces it and 1 other lease",
  ]);
  expect(stateOf(reasons)).toBe("notReady");
  expect(claimReasons({ subnetClaims: [], addressConflicts: [] })).toEqual([]);
});
