// Which other device has what a vxlan device of ours needs: its VNI, or its UDP port. Pure.
import type { LinkMessage } from "../../netlink/rtnetlink/messages.ts";
import { KERNEL_VXLAN_PORT, type VxlanLink } from "./link-form.ts";

/**
 * A clause for a person that names it, with what to do; undefined when there is none. Another VNI at the same port is no
 * hindrance, unless the device takes the packets of every VNI or has other options of its socket.
 */
export function vxlanHolder(wanted: VxlanLink, links: readonly LinkMessage[]): string | undefined {
  const port = wanted.port === 0 ? KERNEL_VXLAN_PORT : wanted.port;
  const others = links.filter(({ name, vxlan }) => name !== wanted.name && vxlan?.port === port);
  const sameVni = others.find(({ vxlan }) => vxlan?.vni === wanted.vni && vxlan.isExternal !== true);
  const holder = sameVni ?? others.find(({ vxlan }) => vxlan?.isExternal === true) ?? others.find(({ isUp }) => isUp);
  if (holder === undefined) return undefined;
  const what = holder === sameVni ? `VNI ${wanted.vni} at UDP port ${port}` : `UDP port ${port}`;
  return (
    `the vxlan device ${holder.name} has ${what}; if nothing needs it, delete it with: ip link delete dev ${holder.name}, ` +
    `else set another ${holder === sameVni ? "VNI" : "Port"} in Backend of the network configuration`
  );
}
