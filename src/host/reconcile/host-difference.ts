// What would have to change on this host, from a look of its own: for `flannelctl plan`.
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import { type HostKind, hostKinds, type Observed } from "../kinds/host-objects.ts";
import type { HostState } from "../kinds/host-state.ts";
import { diff, operationLines } from "./diff.ts";
import { look } from "./host-observer.ts";
import { HostTable, type ObservedState } from "./host-table.ts";
import { NextHopPool } from "./next-hop-pool.ts";
import { LinkDirectory, type Ownership } from "./observed-state.ts";

/** Lines `+ `, `- `, `! ` in the order they would be applied; empty when the kernel agrees. */
export async function hostDifference(
  netlink: Rtnetlink,
  ownership: Ownership,
  desired: HostState,
  prune: boolean,
): Promise<string[]> {
  const table = new HostTable();
  table.setDesired(desired); // the look needs to know which destinations matter
  const view = { netlink, table, links: new LinkDirectory(), pool: new NextHopPool(), ownership };
  await look(new Set(hostKinds), view, () => undefined);
  const { ownDevices } = ownership;
  return operationLines(diff(observedOf(table), desired, { prune, ownDevices }), ownDevices);
}

function observedOf(table: HostTable): ObservedState {
  const all = <K extends HostKind>(kind: K): Observed<K>[] => {
    const found: Observed<K>[] = [];
    for (const { observed } of table.slots(kind)) if (observed !== undefined) found.push(observed);
    return found;
  };
  return {
    link: all("link"),
    sysctl: all("sysctl"),
    address: all("address"),
    neighbour: all("neighbour"),
    fdb: all("fdb"),
    route: all("route"),
    blackhole: all("blackhole"),
  };
}
