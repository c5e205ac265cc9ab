// Routes that put packets into IPv6 packets of their own (RTA_ENCAP of type ip6, linux/lwtunnel.h), for a device that takes
// the outer addresses from routes. Input is hostile. Pure.
import type { Address } from "../../ip/address.ts";
import type { AttributeReader } from "../attribute-reader.ts";
import type { MessageWriter } from "../message-writer.ts";
import { writeAddress } from "../request.ts";
import { LWTUNNEL_ENCAP_IP6, lwtunnelIp6, rta } from "../uapi.ts";

/** The addresses of the outer packet, both IPv6. All else is the kernel's default. */
export interface RouteEncapsulation {
  readonly source: Address;
  readonly destination: Address;
}

export function writeEncapsulation(writer: MessageWriter, { source, destination }: RouteEncapsulation): void {
  writer.u16Attribute(rta.encapsulationType, LWTUNNEL_ENCAP_IP6);
  const nest = writer.beginNest(rta.encapsulation);
  writeAddress(writer, lwtunnelIp6.destination, destination);
  writeAddress(writer, lwtunnelIp6.source, source);
  writer.endNest(nest);
}

/** As `ip route` prints it, without what is 0; equal for what was written and what is read back. */
export function encapsulationText({ source, destination }: RouteEncapsulation): string {
  return `ip6 src ${source} dst ${destination}`;
}

/** Hexadecimal; empty when all bytes are 0. */
function keyText(bytes: Uint8Array): string {
  return bytes.some((byte) => byte !== 0) ? Buffer.from(bytes).toString("hex") : "";
}

/** Text of an RTA_ENCAP; of other types their number alone. */
export function readEncapsulation(type: number, reader: AttributeReader): string {
  if (type !== LWTUNNEL_ENCAP_IP6) return `type ${type}`;
  const found = { id: "", src: "", dst: "", hoplimit: "", tc: "" };
  while (reader.next()) {
    switch (reader.type) {
      case lwtunnelIp6.source:
        found.src = reader.address() ?? "";
        break;
      case lwtunnelIp6.destination:
        found.dst = reader.address() ?? "";
        break;
      case lwtunnelIp6.hopLimit:
        found.hoplimit = unlessZero(reader.u8());
        break;
      case lwtunnelIp6.trafficClass:
        found.tc = unlessZero(reader.u8());
        break;
      case lwtunnelIp6.id:
        found.id = keyText(reader.bytes());
        break;
    }
  }
  const words = Object.entries(found).flatMap(([name, value]) => (value === "" || value === "::" ? [] : [name, value]));
  return ["ip6", ...words].join(" ");
}

function unlessZero(value: number | undefined): string {
  return value === undefined || value === 0 ? "" : String(value);
}
