// The bridge that a CNI plugin made for this host's pods: removed when flannel leaves and nothing is attached to it.
import { hasCode } from "../errors.ts";
import { deleteLink } from "../netlink/rtnetlink/link.ts";
import { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";

export type PodBridge = "missing" | "removed" | { readonly attached: number };

/** With `isDryRun` only says what it would do. A device of that name that is no bridge is another program's: `missing`. */
export async function removePodBridge(name: string, isDryRun: boolean): Promise<PodBridge> {
  await using netlink = Rtnetlink.open();
  const links = await netlink.dump("link");
  const bridge = links.find((link) => link.name === name && link.kind === "bridge");
  if (bridge === undefined) return "missing";
  const attached = links.filter(({ masterIndex }) => masterIndex === bridge.index).length;
  if (attached > 0) return { attached };
  if (isDryRun) return "removed";
  const [error] = await netlink.apply([deleteLink(bridge)]);
  if (error !== undefined && !hasCode(error, "KERNEL_NOT_FOUND")) throw error;
  return "removed";
}
