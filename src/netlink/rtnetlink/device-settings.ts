// IPv4 settings of devices: RTM_NEWNETCONF, RTM_DELNETCONF, RTM_GETNETCONF (linux/netconf.h, since Linux 3.8), which tell of
// them, and IFLA_INET_CONF of a link message, which sets them also where /proc/sys is read-only. Pure.
import { AttributeReader } from "../attribute-reader.ts";
import type { Device, NetlinkRequest } from "../request.ts";
import { AF_INET, ifla, ipv4Devconf, netconfa, nlm, rtm, rtnlGroup } from "../uapi.ts";
import { beginLink } from "./link.ts";
import type { DeviceSettingsMessage } from "./messages.ts";
import { fits, type ObjectCodec } from "./object-codec.ts";

/** struct netconfmsg: the family, padded. */
const HEADER_BYTES = 4;

export const deviceSettingsCodec: ObjectCodec<DeviceSettingsMessage> = {
  newType: rtm.newNetconf,
  deleteType: rtm.delNetconf,
  groups: [rtnlGroup.ipv4Netconf],
  decode: decodeDeviceSettings,
  mayBeMissing: true,
  queries: () => [
    (writer) => {
      const start = writer.begin(rtm.getNetconf, nlm.request | nlm.dump);
      writer.u32(AF_INET);
      writer.end(start);
    },
  ],
  fits: (message, filter) => fits(filter.index, message.index),
};

/** What is missing stays. */
export interface DeviceSettingsChange {
  readonly forwarding?: boolean;
  /** 0 off, 1 strict, 2 loose; the kernel uses the larger of this and the one of all devices. */
  readonly rpFilter?: 0 | 1 | 2;
}

export function changeDeviceSettings(device: Device, change: DeviceSettingsChange): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginLink(writer, rtm.newLink, nlm.request, device.index);
      const ofFamilies = writer.beginNest(ifla.afSpec);
      const ofIpv4 = writer.beginNest(AF_INET);
      const settings = writer.beginNest(ifla.inetConf);
      if (change.forwarding !== undefined) writer.u32Attribute(ipv4Devconf.forwarding, Number(change.forwarding));
      if (change.rpFilter !== undefined) writer.u32Attribute(ipv4Devconf.rpFilter, change.rpFilter);
      writer.endNest(settings);
      writer.endNest(ofIpv4);
      writer.endNest(ofFamilies);
      writer.end(start);
    },
    describe: () => `set IPv4 settings of ${device.name}${changeText(change)}`,
  };
}

/** A notification tells of what changed alone; a listing of everything. */
function decodeDeviceSettings(view: DataView, start: number, end: number): DeviceSettingsMessage | undefined {
  if (start + HEADER_BYTES > end || view.getUint8(start) !== AF_INET) return undefined;
  let index: number | undefined;
  let forwarding: number | undefined;
  let rpFilter: number | undefined;
  const reader = new AttributeReader(view, start + HEADER_BYTES, end);
  while (reader.next()) {
    if (reader.type === netconfa.index) index = reader.u32();
    else if (reader.type === netconfa.forwarding) forwarding = reader.u32();
    else if (reader.type === netconfa.rpFilter) rpFilter = reader.u32();
  }
  if (index === undefined) return undefined;
  return {
    index: index | 0,
    ...(forwarding === undefined ? {} : { forwarding: forwarding !== 0 }),
    ...(rpFilter === undefined ? {} : { rpFilter }),
  };
}

function changeText({ forwarding, rpFilter }: DeviceSettingsChange): string {
  const forwards = forwarding === undefined ? "" : ` forwarding ${Number(forwarding)}`;
  return `${forwards}${rpFilter === undefined ? "" : ` rp_filter ${rpFilter}`}`;
}
