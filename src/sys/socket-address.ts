// struct sockaddr_in and sockaddr_in6 (linux/in.h, in6.h), as system calls and netlink take them. Pure.
import { type Address, addressToBytes } from "../ip/address.ts";

export const AF_INET = 2;
export const AF_INET6 = 10;

export function socketAddress(address: Address, port: number): Uint8Array {
  const bytes = addressToBytes(address);
  const isV6 = bytes.length === 16;
  const result = new Uint8Array(isV6 ? 28 : 16);
  const view = new DataView(result.buffer);
  view.setUint16(0, isV6 ? AF_INET6 : AF_INET, true);
  view.setUint16(2, port);
  result.set(bytes, isV6 ? 8 : 4);
  return result;
}
