// Whether a chain of another program drops forwarded packets. No accept of ours outweighs that.
import { carriesTraffic, defineCheck } from "../check.ts";

export const forwardPolicy = defineCheck({
  name: "forward-policy",
  severity: "warning",
  needs: ["forwardDrops"],
  appliesTo: carriesTraffic,
  check: ({ families }, { forwardDrops }) =>
    forwardDrops.filter(({ family }) => family === "both" || families.has(family)),
  evidence: ({ chain, by }) =>
    `${chain} drops forwarded packets (${by}): packets of containers pass only if one of its rules accepts them`,
  remedy: ({ cure }, { networks }) => cure.replaceAll("NETWORK", networks[0] ?? "NETWORK"),
});
