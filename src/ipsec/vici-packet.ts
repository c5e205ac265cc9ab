// What travels on charon's control socket: packets, each with its length before it. Pure. What comes in is hostile.
import {
  concatenate,
  decodeMessage,
  encodeMessage,
  malformed,
  type ViciFields,
  type ViciSection,
} from "./vici-message.ts";

const packetType = {
  request: 0,
  response: 1,
  unknownCommand: 2,
  register: 3,
  unregister: 4,
  confirmed: 5,
  unknownEvent: 6,
  event: 7,
} as const;

export type ViciAnswer =
  | { readonly type: "response"; readonly message: ViciSection }
  | { readonly type: "event"; readonly name: string; readonly message: ViciSection }
  | { readonly type: "unknownCommand" | "confirmed" | "unknownEvent" };

/** charon's own limit (VICI_MESSAGE_SIZE_MAX). */
const MAX_PACKET_BYTES = 512 * 1024;
const LENGTH_BYTES = 4;

const ascii = new TextEncoder();
const text = new TextDecoder();

export function encodeRequest(command: string, message: ViciFields): Uint8Array {
  return framed(packetType.request, command, encodeMessage(message));
}

export function encodeRegistration(event: string): Uint8Array {
  return framed(packetType.register, event, new Uint8Array());
}

export function encodeUnregistration(event: string): Uint8Array {
  return framed(packetType.unregister, event, new Uint8Array());
}

/** Throws a RangeError when charon would not take it. */
function framed(type: number, name: string, message: Uint8Array): Uint8Array {
  const nameBytes = ascii.encode(name);
  const body = concatenate([Uint8Array.of(type, nameBytes.length), nameBytes, message]);
  if (body.length > MAX_PACKET_BYTES) throw new RangeError(`a VICI packet of ${body.length} bytes is too long`);
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setUint32(0, body.length);
  return concatenate([length, body]);
}

/** Puts packets together from the pieces that a stream delivers; holds one packet at most. */
export class PacketReader {
  #pending = new Uint8Array();

  /** The packets that are whole now. Throws `KERNEL_REJECTED` for what cannot be one: the stream is useless then. */
  push(piece: Uint8Array): ViciAnswer[] {
    const bytes = this.#pending.length === 0 ? piece : concatenate([this.#pending, piece]);
    const answers: ViciAnswer[] = [];
    let at = 0;
    while (at + LENGTH_BYTES <= bytes.length) {
      const length = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(0);
      if (length === 0 || length > MAX_PACKET_BYTES) throw malformed(`a packet of ${length} bytes`);
      const end = at + LENGTH_BYTES + length;
      if (end > bytes.length) break;
      answers.push(decodePacket(bytes.subarray(at + LENGTH_BYTES, end)));
      at = end;
    }
    this.#pending = bytes.slice(at);
    return answers;
  }
}

function decodePacket(packet: Uint8Array): ViciAnswer {
  const [type, nameLength = 0] = packet;
  switch (type) {
    case packetType.response:
      return { type: "response", message: decodeMessage(packet.subarray(1)) };
    case packetType.event: {
      const end = 2 + nameLength;
      if (packet.length < end) throw malformed("an event's name is cut off");
      return {
        type: "event",
        name: text.decode(packet.subarray(2, end)),
        message: decodeMessage(packet.subarray(end)),
      };
    }
    case packetType.unknownCommand:
      return { type: "unknownCommand" };
    case packetType.confirmed:
      return { type: "confirmed" };
    case packetType.unknownEvent:
      return { type: "unknownEvent" };
    default:
      throw malformed(`packet type ${type}`);
  }
}
