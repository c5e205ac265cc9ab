import { expect, test } from "vitest";
import { noFacts } from "../host-facts.ts";
import { neighbourTable } from "./resources.ts";

test.each([1_024, 32_768, 100_000])("a full table of %i neighbours is made larger, not smaller", async (max) => {
  const context = {
    ...{ families: new Set([4] as const), networks: [], ownSubnets: [], earlierSubnets: [], devices: [] },
    externalInterface: { name: "eth0", index: 2, mtuBytes: 1500, isUp: true },
    ...{ overlayMtuBytes: 1450, needs: { carriesTraffic: true } },
  };
  const facts = { ...noFacts, neighbourUse: [{ family: 4 as const, used: max, max }] };
  const [finding] = neighbourTable.run(context, facts);
  const values = (finding?.fix ?? []).map((step) => (step.kind === "sysctl" ? Number(step.value) : Number.NaN));
  expect(values).toHaveLength(3);
  expect(Math.max(...values)).toBeGreaterThan(max);
  for (const value of values) expect(finding?.remedy).toContain(`=${value}`);
});
