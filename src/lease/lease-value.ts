// The JSON a host writes into its lease, byte-compatible with upstream flannel. Pure. The text comes from whoever can
// write to the store: the reader gives attributes or a reason, and never throws anything else.
import { type Address, familyOf, tryParseAddress } from "../ip/address.ts";
import type { BackendData, LeaseAttributes } from "./lease.ts";

/** Real values have about 150 bytes; WireGuard and IPsec keys included, nothing legitimate comes near this. */
const MAX_VALUE_LENGTH = 64 * 1024;
/** Deeper data could exhaust the stack of whoever walks it. */
const MAX_DATA_DEPTH = 16;

/** Compact JSON, keys in upstream's order: PublicIP and PublicIPv6 always, the others only when they say something. */
export function formatLeaseValue(attributes: LeaseAttributes): string {
  const { backendType, backendData, backendV6Data } = attributes;
  return JSON.stringify({
    PublicIP: attributes.publicIp ?? "0.0.0.0",
    PublicIPv6: attributes.publicIpv6 ?? null,
    ...(backendType !== undefined && backendType !== "" && { BackendType: backendType }),
    ...(isPresent(backendData) && { BackendData: backendData }),
    ...(isPresent(backendV6Data) && { BackendV6Data: backendV6Data }),
  });
}

/**
 * Reads a lease value as Go's decoder does: keys in any case, unknown keys ignored, a missing PublicIP is 0.0.0.0
 * (no address), `"PublicIP":null` is an error. Throws a RangeError that says what is wrong with it.
 */
export function parseLeaseValue(text: string): LeaseAttributes {
  if (text.length > MAX_VALUE_LENGTH) throw new RangeError(`value is longer than ${MAX_VALUE_LENGTH} characters`);
  const fields = new Map<string, unknown>();
  for (const [key, value] of Object.entries(parseObject(text))) fields.set(key.toLowerCase(), value);
  const publicIp = readAddress("PublicIP", fields.get("publicip"), 4);
  const ipv6 = fields.get("publicipv6");
  const publicIpv6 = ipv6 === null ? undefined : readAddress("PublicIPv6", ipv6, 6);
  const backendType = readType(fields.get("backendtype"));
  const backendData = readBackendData("BackendData", fields.get("backenddata"));
  const backendV6Data = readBackendData("BackendV6Data", fields.get("backendv6data"));
  return {
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
    ...(backendType !== undefined && { backendType }),
    ...(backendData !== undefined && { backendData }),
    ...(backendV6Data !== undefined && { backendV6Data }),
  };
}

function parseObject(text: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which may be anything.
    throw new RangeError("value is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new RangeError("value is not a JSON object");
  }
  return value;
}

function readAddress(key: string, value: unknown, family: 4 | 6): Address | undefined {
  if (value === undefined) return undefined;
  const address = typeof value === "string" ? tryParseAddress(value) : undefined;
  if (address === undefined || familyOf(address) !== family)
    throw new RangeError(`${key} is not an IPv${family} address`);
  return address === "0.0.0.0" || address === "::" ? undefined : address;
}

function readType(value: unknown): string | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value !== "string") throw new RangeError("BackendType is not a string");
  return value;
}

/** Parsed JSON as backend data, bounded; undefined for null. `key` names it in the RangeError. */
export function readBackendData(key: string, value: unknown): BackendData | undefined {
  if (!isPresent(value)) return undefined;
  if (!isBackendData(value, MAX_DATA_DEPTH)) {
    throw new RangeError(`${key} is nested deeper than ${MAX_DATA_DEPTH} levels or has a key named __proto__`);
  }
  return value;
}

/** True for plain JSON data that is safe to copy and to walk recursively. */
function isBackendData(value: unknown, depth: number): value is BackendData {
  if (typeof value !== "object" || value === null) return typeof value !== "function" && value !== undefined;
  if (depth === 0) return false;
  if (Array.isArray(value)) return value.every((item) => isBackendData(item, depth - 1));
  return Object.entries(value).every(([key, item]) => key !== "__proto__" && isBackendData(item, depth - 1));
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}
