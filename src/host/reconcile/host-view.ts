// What is known of one host, put together.
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { Host } from "../kinds/kind.ts";
import { KindMemory } from "../kinds/kind-memory.ts";
import { LinkDirectory, type Ownership } from "../kinds/links.ts";
import { HostTable } from "./host-table.ts";

export interface HostView extends Host {
  readonly slots: HostTable;
}

/** Knows nothing yet. */
export function newHostView(netlink: Rtnetlink, ownership: Ownership): HostView {
  return { netlink, ownership, links: new LinkDirectory(), slots: new HostTable(), memory: new KindMemory() };
}
