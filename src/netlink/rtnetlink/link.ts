// Changes and queries of links of any kind (RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK; struct ifinfomsg). Pure.
import type { MessageWriter } from "../message-writer.ts";
import { type Device, type NetlinkRequest, writeFlags, writeMac } from "../request.ts";
import { AF_UNSPEC, iff, ifla, nlm, rtm, SKIP_STATISTICS } from "../uapi.ts";

/** Properties every link has; what is missing stays. */
export interface LinkChange {
  readonly isUp?: boolean;
  readonly mtuBytes?: number;
  readonly mac?: string;
  /** Kernels before 6.2 rename only a device that is down (EBUSY). */
  readonly name?: string;
}

export function changeLink(device: Device, change: LinkChange): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginLink(writer, rtm.newLink, nlm.request, device.index, change.isUp);
      if (change.name !== undefined) writer.textAttribute(ifla.interfaceName, change.name);
      if (change.mtuBytes !== undefined) writer.u32Attribute(ifla.mtu, change.mtuBytes);
      if (change.mac !== undefined) writeMac(writer, ifla.address, change.mac);
      writer.end(start);
    },
    describe: () => `set link ${device.name}${changeText(change)}`,
  };
}

/** Creates a device of a kind that needs no settings, down. Fails with `KERNEL_EXISTS` when the name is taken. */
export function createLink(name: string, kind: string): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginLink(writer, rtm.newLink, writeFlags.create, 0);
      writer.textAttribute(ifla.interfaceName, name);
      const info = writer.beginNest(ifla.linkInfo);
      writer.textAttribute(ifla.infoKind, kind);
      writer.endNest(info);
      writer.end(start);
    },
    describe: () => `add link ${name} type ${kind}`,
  };
}

export function deleteLink(device: Device): NetlinkRequest {
  return {
    encode: (writer) => writer.end(beginLink(writer, rtm.delLink, nlm.request, device.index)),
    describe: () => `delete link ${device.name}`,
  };
}

/** All links, or with `index` that one (the kernel has no filter by index for dumps). */
export function encodeLinkQuery(writer: MessageWriter, index: number | undefined): void {
  const flags = index === undefined ? nlm.request | nlm.dump : nlm.request | nlm.ack;
  const start = beginLink(writer, rtm.getLink, flags, index ?? 0);
  writer.u32Attribute(ifla.extendedMask, SKIP_STATISTICS);
  writer.end(start);
}

/** Header of a link message; `isUp` undefined leaves the device up or down as it is. */
export function beginLink(writer: MessageWriter, type: number, flags: number, index: number, isUp?: boolean): number {
  const start = writer.begin(type, flags);
  writer.u32(AF_UNSPEC); // family, padding, device type
  writer.u32(index);
  writer.u32(isUp === true ? iff.up : 0);
  writer.u32(isUp === undefined ? 0 : iff.up); // which flags change
  return start;
}

function changeText(change: LinkChange): string {
  const up = change.isUp === undefined ? "" : change.isUp ? " up" : " down";
  const name = change.name === undefined ? "" : ` name ${change.name}`;
  const mtu = change.mtuBytes === undefined ? "" : ` mtu ${change.mtuBytes}`;
  return `${up}${name}${mtu}${change.mac === undefined ? "" : ` address ${change.mac}`}`;
}
