// What would have to change on this host, from a look of its own: for `flannelctl plan`.
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { HostState } from "../kinds/host-state.ts";
import { hostKinds } from "../kinds/kinds.ts";
import type { Ownership } from "../kinds/links.ts";
import { diff, operationLines, type Removal } from "./diff.ts";
import { look } from "./host-observer.ts";
import { newHostView } from "./host-view.ts";

/** Lines `+ `, `- `, `! ` in the order they would be applied; empty when the kernel agrees. */
export async function hostDifference(
  netlink: Rtnetlink,
  ownership: Ownership,
  desired: HostState,
  removal: Removal,
): Promise<string[]> {
  const view = newHostView(netlink, ownership);
  view.slots.setDesired(desired); // the look needs to know which objects matter
  await look(new Set(hostKinds), view, () => undefined);
  const { ownDevices } = ownership;
  return operationLines(diff(view.slots, { ...removal, ownDevices }), ownDevices);
}
