// Reads and changes the kernel's IPsec policies, and asks whether it has ESP.
import { setImmediate as nextTurn } from "node:timers/promises";
import { FlannelError, hasCode } from "../../errors.ts";
import type { Address } from "../../ip/address.ts";
import { hasErrno } from "../../sys/errno.ts";
import { KernelDialogue } from "../dialogue-socket.ts";
import type { MessageFrame } from "../message-frames.ts";
import type { MessageWriter } from "../message-writer.ts";
import { NetlinkSocket } from "../netlink-socket.ts";
import { AF_INET, NETLINK_XFRM, xfrm, xfrma, xfrmMessage } from "../uapi.ts";
import {
  decodeEspNumber,
  decodePolicy,
  writeLifetime,
  writePolicy,
  writePolicyId,
  writeXfrmAddress,
  type XfrmPolicy,
  type XfrmSelector,
} from "./xfrm-policy.ts";

/** A listing is begun again when something changes meanwhile. */
const READ_ATTEMPTS = 8;

/** All policies of this network namespace; none where the kernel has no IPsec at all. */
export async function readPolicies(): Promise<readonly XfrmPolicy[]> {
  return await list(xfrmMessage.getPolicy, "list IPsec policies", (view, { type, start, end }) =>
    type === xfrmMessage.newPolicy ? decodePolicy(view, start, end) : undefined,
  );
}

/**
 * The numbers (SPI) of all ESP associations of this network namespace, as eight hexadecimal digits; none where the kernel has no
 * IPsec at all.
 */
export async function readEspNumbers(): Promise<ReadonlySet<string>> {
  const numbers = await list(xfrmMessage.getState, "list IPsec associations", (view, { type, start, end }) =>
    type === xfrmMessage.newState ? decodeEspNumber(view, start, end) : undefined,
  );
  return new Set(numbers);
}

async function list<T>(
  messageType: number,
  operation: string,
  decode: (view: DataView, frame: MessageFrame) => T | undefined,
): Promise<readonly T[]> {
  using socket = openSocket();
  if (socket === undefined) return [];
  const dialogue = new KernelDialogue(socket);
  for (let attempt = 1; ; attempt++) {
    const found: T[] = [];
    try {
      dialogue.request({ messageType, operation, isDump: true, writeBody: () => undefined }, (view, frame) => {
        const object = decode(view, frame);
        if (object !== undefined) found.push(object);
      });
      return found;
    } catch (error) {
      if (attempt === READ_ATTEMPTS || !hasCode(error, "KERNEL_BUSY")) throw error;
      await nextTurn();
    }
  }
}

export type PolicyChange = { readonly set: XfrmPolicy } | { readonly remove: XfrmSelector };

/** Changes, in order. Each result is undefined, or the kernel's refusal. */
export function changePolicies(
  changes: readonly PolicyChange[],
  describe: (selector: XfrmSelector) => string,
): (FlannelError | undefined)[] {
  using socket = openSocket();
  if (socket === undefined) return changes.map(() => withoutXfrm());
  const dialogue = new KernelDialogue(socket);
  return changes.map((change) => {
    try {
      if ("set" in change) {
        dialogue.request({
          // Unlike NEWPOLICY it replaces one that is there, without a gap.
          messageType: xfrmMessage.updatePolicy,
          operation: `set ${describe(change.set)}`,
          writeBody: (writer) => writePolicy(writer, change.set),
        });
      } else {
        dialogue.request({
          messageType: xfrmMessage.deletePolicy,
          operation: `delete ${describe(change.remove)}`,
          writeBody: (writer) => writePolicyId(writer, change.remove),
        });
      }
      return undefined;
    } catch (error) {
      if (error instanceof FlannelError) return error;
      throw error;
    }
  });
}

/** Of no other program: the loopback network talks to itself. */
const PROBE_ADDRESS = "127.0.0.1" as Address;
const PROBE_SPI = 0xf1a5_5e50;

/**
 * Asks the kernel for a security association that encrypts nothing, which makes it load the module that it needs, and takes it
 * away again. Throws the refusal when this process may not ask.
 */
export function hasKernelEsp(): boolean {
  using socket = openSocket();
  if (socket === undefined) return false;
  const dialogue = new KernelDialogue(socket);
  const operation = "ask the kernel for ESP";
  try {
    dialogue.request({ messageType: xfrmMessage.newState, operation, writeBody: writeProbe });
  } catch (error) {
    if (hasErrno(error, "EPROTONOSUPPORT")) return false;
    if (hasCode(error, "KERNEL_DENIED")) throw error;
    return true; // ESP is there: something else was wrong, an algorithm that is missing, say
  }
  dialogue.request({ messageType: xfrmMessage.deleteState, operation, writeBody: writeProbeId });
  return true;
}

/** struct xfrm_usersa_info, and algorithms that do nothing. */
function writeProbe(writer: MessageWriter): void {
  writer.zeros(56);
  writeXfrmAddress(writer, PROBE_ADDRESS);
  writer.u32(PROBE_SPI);
  writer.u32(xfrm.protocolEsp);
  writeXfrmAddress(writer, PROBE_ADDRESS);
  writeLifetime(writer);
  writer.zeros(32 + 12 + 4 + 4);
  writer.u16(AF_INET);
  writer.u8(xfrm.modeTunnel);
  writer.zeros(9);
  writer.bytesAttribute(xfrma.authentication, algorithm("digest_null"));
  writer.bytesAttribute(xfrma.encryption, algorithm("ecb(cipher_null)"));
}

/** struct xfrm_usersa_id. */
function writeProbeId(writer: MessageWriter): void {
  writeXfrmAddress(writer, PROBE_ADDRESS);
  writer.u32(PROBE_SPI);
  writer.u16(AF_INET);
  writer.u8(xfrm.protocolEsp);
  writer.zeros(1);
}

/** struct xfrm_algo without a key. */
function algorithm(name: string): Uint8Array {
  const bytes = new Uint8Array(68);
  bytes.set(new TextEncoder().encode(name));
  return bytes;
}

/** Undefined where the kernel has no IPsec. */
function openSocket(): NetlinkSocket | undefined {
  try {
    return NetlinkSocket.open({ protocol: NETLINK_XFRM, receiveBufferBytes: 1024 * 1024 });
  } catch (error) {
    if (hasErrno(error, "EPROTONOSUPPORT")) return undefined;
    throw error;
  }
}

function withoutXfrm(): FlannelError {
  return new FlannelError(
    "KERNEL_UNSUPPORTED",
    "this kernel has no IPsec policies (CONFIG_XFRM_USER): modprobe xfrm_user",
  );
}
