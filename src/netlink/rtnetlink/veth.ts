// A pair of veth devices, one end of which is a port of a bridge. Pure.
import { type Device, type NetlinkRequest, writeFlags, writeMac } from "../request.ts";
import { AF_UNSPEC, iff, ifla, rtm } from "../uapi.ts";
import { beginLink } from "./link.ts";

export interface VethSpec {
  /** At most 15 bytes each (IFNAMSIZ). */
  readonly portName: string;
  readonly peerName: string;
  readonly bridge: Device;
  readonly mtuBytes: number;
  /** A bridge without an address of its own takes the lowest one of its ports: this is to be a high one. */
  readonly portMac: string;
  readonly peerMac: string;
}

/** linux/veth.h: VETH_INFO_PEER, a struct ifinfomsg and attributes. */
const PEER = 1;

/**
 * Creates both ends, down: the kernel takes none up before it knows the other. The other end answers no ARP: the host is not to answer there for addresses of its own. Fails with
 * `KERNEL_EXISTS` when a name is taken.
 */
export function createVeth({ portName, peerName, bridge, mtuBytes, portMac, peerMac }: VethSpec): NetlinkRequest {
  return {
    encode: (writer) => {
      const start = beginLink(writer, rtm.newLink, writeFlags.create, 0);
      writer.textAttribute(ifla.interfaceName, portName);
      writer.u32Attribute(ifla.mtu, mtuBytes);
      writer.u32Attribute(ifla.master, bridge.index);
      writeMac(writer, ifla.address, portMac);
      const info = writer.beginNest(ifla.linkInfo);
      writer.textAttribute(ifla.infoKind, "veth");
      const data = writer.beginNest(ifla.infoData);
      const peer = writer.beginNest(PEER);
      writer.u32(AF_UNSPEC);
      writer.u32(0);
      writer.u32(iff.noArp);
      writer.u32(iff.noArp);
      writer.textAttribute(ifla.interfaceName, peerName);
      writer.u32Attribute(ifla.mtu, mtuBytes);
      writeMac(writer, ifla.address, peerMac);
      writer.endNest(peer);
      writer.endNest(data);
      writer.endNest(info);
      writer.end(start);
    },
    describe: () => `add link ${portName} master ${bridge.name} type veth peer ${peerName}`,
  };
}
