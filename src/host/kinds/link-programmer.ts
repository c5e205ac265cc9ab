// Makes, changes and deletes our devices.
import { FlannelError, hasCode } from "../../errors.ts";
import type { NetlinkRequest } from "../../netlink/request.ts";
import { moduleOfDevices } from "../../netlink/rtnetlink/device-module.ts";
import { changeIpip, createIp6tnl, createIpip } from "../../netlink/rtnetlink/ipip.ts";
import { changeLink, createLink, deleteLink, type LinkChange } from "../../netlink/rtnetlink/link.ts";
import { changeVxlan, createVxlan, type VxlanChange } from "../../netlink/rtnetlink/vxlan.ts";
import { hasErrno } from "../../sys/errno.ts";
import { ensureTun } from "../../sys/tun-device.ts";
import { startUserspace } from "../../wireguard/userspace.ts";
import type { Host, Operation } from "./kind.ts";
import {
  type HostLink,
  type Ip6tnlLink,
  type IpipLink,
  type LinkField,
  linkChanges,
  type ObservedLink,
  type VxlanLink,
  type WireguardLink,
} from "./link-form.ts";
import { missingDevice } from "./links.ts";
import { isAlreadyGone } from "./programming.ts";
import { vxlanHolder } from "./vxlan-holder.ts";

interface Context {
  readonly host: Host;
  readonly signal: AbortSignal;
}

/**
 * Carries out one operation; throws the kernel's error. The directory is renewed by whoever looks afterwards: a link
 * operation changes what else there is, so a fresh look follows anyway.
 */
export async function programLink(
  { action, slot }: Operation<HostLink, ObservedLink>,
  host: Host,
  signal: AbortSignal,
): Promise<void> {
  const context = { host, signal };
  const { desired, observed } = slot;
  if (desired === undefined) {
    if (observed !== undefined) await remove(observed, context);
    slot.observed = undefined;
  } else if (observed === undefined) {
    await create(desired, context);
  } else if (action === "recreate") {
    await recreate(desired, observed, context);
  } else {
    await change(desired, observed, context);
  }
}

async function create(link: HostLink, context: Context): Promise<void> {
  if (link.kind === "vxlan") await createVxlanLink(link, context);
  else if (link.kind === "ipip" || link.kind === "ip6tnl") await createIpipLink(link, context);
  else if (link.kind === "wireguard") await createWireguardLink(link, context);
  else ensureTun(link.name);
  const made = (await context.host.netlink.dump("link")).find((found) => found.name === link.name);
  if (made === undefined) throw missingDevice(link.name);
  const change = link.kind === "vxlan" ? { isUp: true } : { isUp: true, mtuBytes: link.mtuBytes };
  await namingHolder(link, context, applyOne(changeLink(made, change), context));
}

async function createVxlanLink(link: VxlanLink, context: Context): Promise<void> {
  const underlay = context.host.links.require(link.underlay);
  const { name, mac, mtuBytes, vni, port, local, learning, gbp } = link;
  const request = createVxlan({ name, mac, mtuBytes, vni, port, local, learning, gbp, underlayIndex: underlay.index });
  await namingHolder(link, context, applyOne(request, context));
}

async function createIpipLink(link: IpipLink | Ip6tnlLink, context: Context): Promise<void> {
  try {
    await applyOne(link.kind === "ipip" ? createIpip(link) : createIp6tnl(link), context);
  } catch (error) {
    if (link.kind === "ip6tnl" && hasCode(error, "KERNEL_EXISTS")) throw await namingExternal(error, context);
    if (!hasCode(error, "KERNEL_UNSUPPORTED")) throw error;
    throw new FlannelError(
      "KERNEL_UNSUPPORTED",
      `this kernel makes no ${link.kind} devices: its module is not loaded and cannot be (modprobe ${moduleOfDevices(link.kind)}; on some ` +
        "systems it is in a package of further modules), or the kernel was built without it (then use another kernel or another " +
        "backend)",
      { cause: error, tellsCause: true },
    );
  }
}

/** Adds which device takes all packets that no other tunnel takes: the kernel makes one such device for a host. */
async function namingExternal(error: FlannelError, { host }: Context): Promise<FlannelError> {
  const links = await host.netlink.dump("link");
  const other = links.find(({ kind, ipip }) => kind === "ip6tnl" && ipip?.isExternal === true);
  if (other === undefined) return error;
  const reason = `${other.name} is one already, and the kernel makes only one ip6tnl device with the mode external`;
  const { code, message, retryable, details } = error;
  return new FlannelError(code, `${message}: ${reason}`, { cause: error, retryable, details });
}

/** Where the kernel has no WireGuard, a program in user space serves the device. */
async function createWireguardLink({ name }: WireguardLink, context: Context): Promise<void> {
  try {
    await applyOne(createLink(name, "wireguard"), context);
  } catch (error) {
    if (!hasCode(error, "KERNEL_UNSUPPORTED")) throw error;
    await startUserspace(name);
  }
}

async function remove(link: ObservedLink, context: Context): Promise<void> {
  const [error] = await context.host.netlink.apply([deleteLink(link)], context.signal);
  if (error !== undefined && !isAlreadyGone(error)) throw error;
}

async function recreate(desired: HostLink, observed: ObservedLink, context: Context): Promise<void> {
  await remove(observed, context);
  await create(desired, context);
}

async function change(desired: HostLink, observed: ObservedLink, context: Context): Promise<void> {
  if (observed.renamedTo !== undefined) await giveBackName(observed, context);
  const changes = new Set(linkChanges(desired, observed));
  if (desired.kind === "vxlan" && !(await changeVxlanLink(changes, desired, observed, context))) return;
  if (desired.kind === "ipip" && !(await changeIpipLink(changes, desired, observed, context))) return;
  const linkChange: LinkChange = {
    ...(changes.has("mac") && desired.kind === "vxlan" ? { mac: desired.mac } : {}),
    ...(changes.has("mtu") ? { mtuBytes: desired.mtuBytes } : {}),
    ...(changes.has("up") ? { isUp: true } : {}),
  };
  if (Object.keys(linkChange).length > 0) await applyOne(changeLink(observed, linkChange), context);
}

async function giveBackName({ name, renamedTo, index }: ObservedLink, context: Context): Promise<void> {
  const device = { name: renamedTo ?? name, index };
  try {
    await applyOne(changeLink(device, { name }), context);
  } catch (error) {
    if (!hasCode(error, "KERNEL_BUSY")) throw error;
    await applyOne(changeLink(device, { isUp: false }), context);
    await applyOne(changeLink(device, { name, isUp: true }), context);
  }
}

/** False when the device had to be recreated, with everything. */
async function changeVxlanLink(
  changes: ReadonlySet<LinkField>,
  desired: VxlanLink,
  observed: ObservedLink,
  context: Context,
): Promise<boolean> {
  const underlay = context.host.links.require(desired.underlay);
  const vxlanChange = vxlanChangeOf(changes, desired, underlay.index);
  if (Object.keys(vxlanChange).length > 0) {
    try {
      await applyOne(changeVxlan(observed, vxlanChange), context);
    } catch (error) {
      // Kernels before 4.20 change little on a living device.
      if (!hasCode(error, "KERNEL_UNSUPPORTED", "KERNEL_REJECTED")) throw error;
      await recreate(desired, observed, context);
      return false;
    }
  }
  return true;
}

/** False when the device had to be recreated: one with a single peer cannot become one for all. */
async function changeIpipLink(
  changes: ReadonlySet<LinkField>,
  desired: IpipLink,
  observed: ObservedLink,
  context: Context,
): Promise<boolean> {
  if (!changes.has("local") && !changes.has("settings")) return true;
  try {
    await applyOne(changeIpip(observed, desired.local), context);
    return true;
  } catch (error) {
    if (!hasCode(error, "KERNEL_UNSUPPORTED", "KERNEL_REJECTED", "KERNEL_EXISTS")) throw error;
    await recreate(desired, observed, context);
    return false;
  }
}

function vxlanChangeOf(changes: ReadonlySet<LinkField>, desired: VxlanLink, underlayIndex: number): VxlanChange {
  return {
    ...(changes.has("local") ? { local: desired.local } : {}),
    ...(changes.has("underlay") ? { underlayIndex } : {}),
    ...(changes.has("learning") ? { learning: desired.learning } : {}),
  };
}

/** Adds to the kernel's refusal of a vxlan device which other one has its VNI or port. */
async function namingHolder(link: HostLink, { host }: Context, attempt: Promise<void>): Promise<void> {
  try {
    await attempt;
  } catch (error) {
    const isTaken = error instanceof FlannelError && (error.code === "KERNEL_EXISTS" || hasErrno(error, "EADDRINUSE"));
    if (!isTaken || link.kind !== "vxlan") throw error;
    const holder = vxlanHolder(link, await host.netlink.dump("link"));
    if (holder === undefined) throw error;
    const { code, message, retryable, details } = error;
    throw new FlannelError(code, `${message}: ${holder}`, { cause: error, retryable, details });
  }
}

async function applyOne(request: NetlinkRequest, { host, signal }: Context): Promise<void> {
  const [error] = await host.netlink.apply([request], signal);
  if (error !== undefined) throw error;
}
