// What routes of an earlier run say of how large packets to peers may be, so that a restart does not lose the large ones.
import type { Prefix } from "../ip/address.ts";
import { containsPrefix } from "../ip/prefix.ts";
import { FLANNEL_PROTOCOL } from "../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { routeTable } from "../netlink/uapi.ts";

/** By destination, in bytes. `devices`: all routes to the networks there are ours; elsewhere those that bear our number. */
export async function readLeftPathMtus(
  rtnetlink: Rtnetlink,
  { networks, devices }: { readonly networks: readonly Prefix[]; readonly devices: readonly string[] },
): Promise<ReadonlyMap<Prefix, number>> {
  const links = await rtnetlink.dump("link");
  const indexes = new Set(links.filter(({ name }) => devices.includes(name)).map(({ index }) => index));
  const found = new Map<Prefix, number>();
  const filter = { table: routeTable.main, overlapping: networks };
  await rtnetlink.dumpAs("route", filter, ({ destination, mtuBytes, outIndex, protocol }): undefined => {
    // Other networks of this agent have routes with the same number.
    const isInside = networks.some((network) => containsPrefix(network, destination));
    const isOurs = isInside && (protocol === FLANNEL_PROTOCOL || indexes.has(outIndex ?? -1));
    if (mtuBytes !== undefined && isOurs) found.set(destination, mtuBytes);
  });
  return found;
}
