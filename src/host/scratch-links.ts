// Interfaces that `flannelctl trace --as-container` makes for a moment, and what is left of one that was killed.
import { deleteLink } from "../netlink/rtnetlink/link.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { isProcessAlive } from "../sys/process-alive.ts";

/** Names of the pair: at most 15 bytes each. */
export function scratchNames(pid: number): { readonly port: string; readonly peer: string } {
  return { port: `fltr${pid}a`, peer: `fltr${pid}b` };
}

/** Ports; the other end goes with them. */
const PORT = /^fltr(\d{1,8})a$/;

/** Removes those of processes that are no more. Returns their names; what cannot be removed stays, and harms nobody. */
export async function removeLeftScratch(netlink: Rtnetlink): Promise<string[]> {
  const links = await netlink.dump("link");
  const left = links.filter(({ name, kind }) => {
    const pid = PORT.exec(name)?.[1];
    return kind === "veth" && pid !== undefined && !isProcessAlive(Number(pid));
  });
  const results = await netlink.apply(left.map(deleteLink));
  return left.filter((_, at) => results[at] === undefined).map(({ name }) => name);
}
