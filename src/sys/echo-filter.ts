// The classic BPF program of a raw ICMP socket that is to see two kinds of messages alone: echo replies to its own identifier,
// and echo requests of other agents, told by their first four bytes. Everything else the machine receives is dropped by the
// kernel before it is copied. Pure.
import type { Family } from "../ip/address.ts";

/** linux/bpf_common.h: opcodes. */
const LDX_HEADER_LENGTH = 0xb1;
const LDX_IMMEDIATE = 0x01;
const LOAD_BYTE = 0x50;
const LOAD_HALF = 0x48;
const LOAD_WORD = 0x40;
const JUMP_EQUAL = 0x15;
const RETURN = 0x06;
const WHOLE_PACKET = 0xff_ff;

/** sizeof(struct sock_filter). */
export const INSTRUCTION_BYTES = 8;

const types = { 4: { reply: 0, request: 8 }, 6: { reply: 129, request: 128 } } as const;

/** The types of echo messages (RFC 792, RFC 4443). */
export function echoTypes(family: Family): { readonly reply: number; readonly request: number } {
  return types[family];
}

/** The filter sees an IPv4 packet with its header, and of IPv6 the ICMPv6 message. */
export function echoFilter(family: Family, identifier: number, mark: number): Uint8Array {
  const { reply, request } = types[family];
  const instructions: readonly (readonly [number, number, number, number])[] = [
    family === 4 ? [LDX_HEADER_LENGTH, 0, 0, 0] : [LDX_IMMEDIATE, 0, 0, 0],
    [LOAD_BYTE, 0, 0, 0],
    [JUMP_EQUAL, 0, 2, reply],
    [LOAD_HALF, 0, 0, 4],
    [JUMP_EQUAL, 3, 4, identifier],
    [JUMP_EQUAL, 0, 3, request],
    [LOAD_WORD, 0, 0, 8],
    [JUMP_EQUAL, 0, 1, mark],
    [RETURN, 0, 0, WHOLE_PACKET],
    [RETURN, 0, 0, 0],
  ];
  const bytes = new Uint8Array(instructions.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  instructions.forEach(([code, ifTrue, ifFalse, value], index) => {
    const at = index * INSTRUCTION_BYTES;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, ifTrue);
    view.setUint8(at + 3, ifFalse);
    view.setUint32(at + 4, value, true);
  });
  return bytes;
}
