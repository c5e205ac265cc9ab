// Why it is of no use to program an object now. Pure.
import type { Host, Slot } from "../kinds/kind.ts";
import { ownDeviceName } from "../kinds/links.ts";

/** The kernel refuses what stands on a device that is missing or down: the reason; undefined when nothing is in the way. */
export function obstacleTo({ kind, desired, observed }: Slot, host: Host): string | undefined {
  const object = desired ?? observed;
  const device = object === undefined ? undefined : kind.deviceOf?.(object);
  if (device === undefined) return undefined;
  const { links, ownership } = host;
  const link = links.byName(device);
  if (link === undefined) return `device ${device} does not exist`;
  if (ownership.ownDevices.has(device) && ownDeviceName(link.index, links, ownership) === undefined) {
    return `device ${device} belongs to another program`;
  }
  const isUsable = link.isUp || kind.standsOnDownDevice === true || desired === undefined;
  return isUsable ? undefined : `device ${device} is down`;
}
