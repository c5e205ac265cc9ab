// The main routing table, which several kinds are listed in.
import { routeTable } from "../../netlink/uapi.ts";
import type { Listing } from "./kind.ts";

export const mainTable: Listing<"route"> = {
  objects: "route",
  filters: () => [
    { table: routeTable.main, family: 4 },
    { table: routeTable.main, family: 6 },
  ],
};
