// The routing tables of our network, which several kinds are listed in: the main one, and its own.
import type { Listing } from "./kind.ts";
import { tablesOf } from "./links.ts";

export const routeTables: Listing<"route"> = {
  objects: "route",
  filters: ({ ownership }) =>
    tablesOf(ownership).flatMap((table) => [
      { table, family: 4 },
      { table, family: 6 },
    ]),
};
