// Whether rules of other programs drop flannel's traffic before or after it is forwarded: in tables like raw and mangle, at
// the port of the tunnel, at a device, on the bridge. In doubt nothing is said.
import type { PacketDrop } from "../../firewall/packet-drop.ts";
import type { Family } from "../../ip/address.ts";
import { carriesTraffic, defineCheck } from "../check.ts";

export function concerns({ family }: PacketDrop, families: ReadonlySet<Family>): boolean {
  return family === "both" || families.has(family);
}

export const packetDrop = defineCheck({
  name: "packet-drop",
  severity: "error",
  needs: ["packetDrops"],
  appliesTo: carriesTraffic,
  check: ({ families }, { packetDrops }) =>
    packetDrops.filter((drop) => {
      return concerns(drop, families) && drop.isCertain && !drop.isOfSingle && drop.hook !== "forward";
    }),
  evidence: ({ chain, by, what }) => `${chain} drops ${what} (${by})`,
  remedy: ({ cure }, { networks }) => cure.replaceAll("NETWORK", networks[0] ?? "NETWORK"),
});

export const containerDrop = defineCheck({
  name: "container-drop",
  severity: "error",
  needs: ["packetDrops"],
  appliesTo: carriesTraffic,
  check: ({ families }, { packetDrops }) =>
    packetDrops.filter((drop) => concerns(drop, families) && drop.isCertain && drop.isOfSingle),
  evidence: ({ chain, by, what }) => `${chain} drops ${what}, for some addresses (${by})`,
  remedy: ({ cure }, { networks }) => cure.replaceAll("NETWORK", networks[0] ?? "NETWORK"),
});
