// A change to one kernel object: how it is encoded and how a person calls it. Pure.
import { type Address, addressToBytes, type Family, familyOf, type Prefix } from "../ip/address.ts";
import type { MessageWriter } from "./message-writer.ts";
import { AF_INET, AF_INET6, nlm } from "./uapi.ts";

/** Cheap until used: ten thousand of them are built in one go. */
export interface NetlinkRequest {
  /** Writes exactly one message, without sequence number. */
  encode(writer: MessageWriter): void;
  /** What is attempted, for errors and logs: `add route 10.5.3.0/24 via 10.5.3.0 dev flannel.1 onlink`. */
  describe(): string;
}

/** A device by the index the kernel wants and the name people want. */
export interface Device {
  readonly index: number;
  readonly name: string;
}

/** `create` fails with `KERNEL_EXISTS` when the object is there; `set` creates or replaces it. */
export type WriteMode = "create" | "set";

export const writeFlags: Readonly<Record<WriteMode, number>> = {
  create: nlm.request | nlm.create | nlm.exclusive,
  set: nlm.request | nlm.create | nlm.replace,
};

export const writeVerb: Readonly<Record<WriteMode, string>> = { create: "add", set: "set" };

/** AF_INET or AF_INET6. */
export function addressFamily(value: Address | Prefix): number {
  return familyOf(value) === 4 ? AF_INET : AF_INET6;
}

/** 4, 6, or undefined for a family that is not IP. */
export function ipFamily(addressFamilyNumber: number): Family | undefined {
  return addressFamilyNumber === AF_INET ? 4 : addressFamilyNumber === AF_INET6 ? 6 : undefined;
}

export function writeAddress(writer: MessageWriter, attribute: number, address: Address): void {
  writer.bytesAttribute(attribute, addressToBytes(address));
}

/** `mac` is six colon-separated octets; throws a RangeError on anything else. */
export function writeMac(writer: MessageWriter, attribute: number, mac: string): void {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) throw new RangeError(`${JSON.stringify(mac)} is not a MAC address`);
  const bytes = new Uint8Array(6);
  for (let i = 0; i < 6; i++) bytes[i] = Number.parseInt(mac.slice(i * 3, i * 3 + 2), 16);
  writer.bytesAttribute(attribute, bytes);
}
