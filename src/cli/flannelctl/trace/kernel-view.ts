// What the stations of a trace are read from. Types.
import type { WayContext } from "../../../doctor/peer-ways.ts";
import type { LinkMessage, NeighbourMessage } from "../../../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../../../netlink/rtnetlink/rtnetlink.ts";

export interface KernelView {
  readonly netlink: Rtnetlink;
  readonly links: readonly LinkMessage[];
  readonly context: WayContext;
  neighbours(device: string, family: 4 | 6): Promise<readonly NeighbourMessage[]>;
}
