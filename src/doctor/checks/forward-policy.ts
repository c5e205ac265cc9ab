// Whether a chain of another program drops forwarded packets. No accept of ours outweighs that.
import { carriesTraffic, defineCheck } from "../check.ts";
import { concerns } from "./packet-drop.ts";

export const forwardPolicy = defineCheck({
  name: "forward-policy",
  severity: "warning",
  needs: ["packetDrops"],
  appliesTo: carriesTraffic,
  check: ({ families }, { packetDrops }) =>
    packetDrops.filter((drop) => concerns(drop, families) && !drop.isOfSingle && drop.hook === "forward"),
  evidence: ({ chain, by, isCertain }) =>
    `${chain} drops forwarded packets (${by})` +
    (isCertain ? "" : ": packets of containers pass only if one of its rules accepts them"),
  remedy: ({ cure }, { networks }) => cure.replaceAll("NETWORK", networks[0] ?? "NETWORK"),
});
