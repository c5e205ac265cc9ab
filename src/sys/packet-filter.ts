// Classic BPF programs of packet sockets: by the size of whole packets, by their source, and IPv6's questions for neighbours. The programs see packets from the IP
// header on. Pure.
import { type Address, addressToBytes, type Family, familyOf } from "../ip/address.ts";

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, value: number];

/** linux/bpf_common.h: opcodes. */
const LOAD_BYTE = 0x30;
const LOAD_WORD = 0x20;
const LOAD_LENGTH = 0x80;
const AND = 0x54;
const JUMP_EQUAL = 0x15;
const RETURN = 0x06;
const SOURCE_AT: Readonly<Record<Family, number>> = { 4: 12, 6: 8 };

/** sizeof(struct sock_filter). */
export const FILTER_INSTRUCTION_BYTES = 8;

/** RFC 4861, 4.3: a neighbour solicitation with the sender's link-layer address, which is as large as a TCP acknowledgement. */
const SOLICITATION_BYTES = 72;
const [NEXT_HEADER_AT, ICMP_6] = [6, 58];
const [ICMP_TYPE_AT, SOLICITATION] = [40, 135];

/** Packets of exactly one of these sizes, and neighbour solicitations of IPv6; `snapBytes` of each are kept. */
export function sizeOrQuestionFilter(sizes: readonly number[], snapBytes: number): Uint8Array {
  const count = sizes.length;
  return assemble([
    [LOAD_LENGTH, 0, 0, 0],
    ...sizes.map((size, index): Instruction => [JUMP_EQUAL, count + 5 - index, 0, size]),
    [JUMP_EQUAL, 0, 4, SOLICITATION_BYTES],
    [LOAD_BYTE, 0, 0, NEXT_HEADER_AT],
    [JUMP_EQUAL, 0, 2, ICMP_6],
    [LOAD_BYTE, 0, 0, ICMP_TYPE_AT],
    [JUMP_EQUAL, 1, 0, SOLICITATION],
    [RETURN, 0, 0, 0],
    [RETURN, 0, 0, snapBytes],
  ]);
}

/** Packets of exactly one of these sizes; `snapBytes` of each are kept. */
export function sizeFilter(sizes: readonly number[], snapBytes: number): Uint8Array {
  const count = sizes.length;
  return assemble([
    [LOAD_LENGTH, 0, 0, 0],
    ...sizes.map((size, index): Instruction => [JUMP_EQUAL, count - index, 0, size]),
    [RETURN, 0, 0, 0],
    [RETURN, 0, 0, snapBytes],
  ]);
}

/** Packets from an address of this prefix. */
export function sourceFilter(address: Address, prefixLength: number, snapBytes: number): Uint8Array {
  const family = familyOf(address);
  const bytes = addressToBytes(address);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const tests: Instruction[] = [
    [LOAD_BYTE, 0, 0, 0],
    [AND, 0, 0, 0xf0],
    [JUMP_EQUAL, 0, 0, family << 4],
  ];
  for (let at = 0; at * 8 < prefixLength; at += 4) {
    const bits = Math.min(32, prefixLength - at * 8);
    const mask = bits === 32 ? 0xffff_ffff : (0xffff_ffff << (32 - bits)) >>> 0;
    tests.push(
      [LOAD_WORD, 0, 0, SOURCE_AT[family] + at],
      [AND, 0, 0, mask],
      [JUMP_EQUAL, 0, 0, (view.getUint32(at) & mask) >>> 0],
    );
  }
  // A test that fails jumps to the end, over the one return.
  const program = tests.map(
    ([code, ifTrue, ifFalse, value], at): Instruction =>
      code === JUMP_EQUAL ? [code, ifTrue, tests.length - at, value] : [code, ifTrue, ifFalse, value],
  );
  return assemble([...program, [RETURN, 0, 0, snapBytes], [RETURN, 0, 0, 0]]);
}

function assemble(instructions: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(instructions.length * FILTER_INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [index, [code, ifTrue, ifFalse, value]] of instructions.entries()) {
    const at = index * FILTER_INSTRUCTION_BYTES;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, ifTrue);
    view.setUint8(at + 3, ifFalse);
    view.setUint32(at + 4, value, true);
  }
  return bytes;
}
