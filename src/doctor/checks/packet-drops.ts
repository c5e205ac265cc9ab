// Whether rules of other programs drop packets of flannel, by where they do: no accept of ours outweighs a drop elsewhere.
// In doubt nothing is said, but of policies at the hook forward.
import type { PacketDrop } from "../../firewall/packet-drop.ts";
import type { Family } from "../../ip/address.ts";
import { type Check, carriesTraffic, defineCheck } from "../check.ts";
import type { FindingName } from "../finding.ts";

export const dropNames = [
  ...["destination-rewritten", "early-drop", "port-drop", "docker28-raw-drop", "forward-drop"],
  ...["bridge-drop", "packet-drop", "container-drop"],
] as readonly FindingName[];

function concerns({ family }: PacketDrop, families: ReadonlySet<Family>): boolean {
  return family === "both" || families.has(family);
}

/** By the place, and for single containers by that alone. */
function dropName(drop: PacketDrop): FindingName {
  if (drop.isRewrite) return "destination-rewritten";
  if (drop.isDockers) return "docker28-raw-drop";
  if (drop.isOfTunnel) return drop.hook === "ingress" || drop.hook === "egress" ? "early-drop" : "port-drop";
  if (drop.isAtBridge) return "bridge-drop";
  if (drop.isOfSingle) return "container-drop";
  if (drop.hook === "ingress" || drop.hook === "egress") return "early-drop";
  return drop.hook === "forward" ? "forward-drop" : "packet-drop";
}

function dropCheck(name: FindingName, isOfSingle: boolean): Check {
  return defineCheck({
    name,
    needs: ["packetDrops"],
    appliesTo: carriesTraffic,
    ...(isOfSingle && { isPartial: true as const }),
    check: ({ families }, { packetDrops }) =>
      packetDrops.filter((drop) => {
        if (!concerns(drop, families) || drop.isOfSingle !== isOfSingle || dropName(drop) !== name) return false;
        return drop.isCertain || name === "forward-drop";
      }),
    severity: name === "forward-drop" ? ({ isCertain }) => (isCertain ? "error" : "warning") : "error",
    evidence: ({ chain, by, what, isCertain }) => {
      const whom = `${what}${isOfSingle ? ", for some addresses" : ""}`;
      if (name === "destination-rewritten") return `${chain} gives another destination to ${whom} (${by})`;
      if (name !== "forward-drop") return `${chain} drops ${whom} (${by})`;
      const doubt = isCertain ? "" : ": packets of containers pass only if one of its rules accepts them";
      return `${chain} drops forwarded packets (${by})${doubt}`;
    },
    remedy: ({ cure }, { networks }) => cure.replaceAll("NETWORK", networks[0] ?? "NETWORK"),
  });
}

export const dropChecks: readonly Check[] = dropNames.flatMap((name) => [
  ...(name === "container-drop" ? [] : [dropCheck(name, false)]),
  ...(name === "forward-drop" || name === "packet-drop" ? [] : [dropCheck(name, true)]),
]);
