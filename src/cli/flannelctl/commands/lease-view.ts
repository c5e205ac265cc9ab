// Leases as `flannelctl lease` shows them: one JSON shape, a table, and a page for one. Pure.
import { announcedMac } from "../../../backend/vxlan/vtep-data.ts";
import type { BackendData, Lease } from "../../../lease/lease.ts";
import { tryParseLeaseKey } from "../../../lease/lease-key.ts";
import { formatDuration, formatPairs, formatTable } from "../../../terminal/text.ts";
import type { LeaseOutput } from "../session/json-output.ts";

/** `ttlSeconds` is what the store says is left; undefined for a reservation or when the store does not know. */
export function leaseOutput(lease: Lease, ttlSeconds: number | undefined, nowMs: number): LeaseOutput {
  const { subnet, ipv6Subnet, attributes } = lease;
  const { publicIp, publicIpv6, backendType, backendData, backendV6Data } = attributes;
  return {
    key: lease.key,
    ...(subnet !== undefined && { subnet }),
    ...(ipv6Subnet !== undefined && { ipv6Subnet }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
    ...(backendType !== undefined && { backendType }),
    ...(backendData !== undefined && { backendData: mutable(backendData) }),
    ...(backendV6Data !== undefined && { backendV6Data: mutable(backendV6Data) }),
    reserved: lease.isReservation,
    ...(ttlSeconds !== undefined && {
      expiresInSeconds: Math.max(0, Math.floor(ttlSeconds)),
      expiresAt: new Date(nowMs + ttlSeconds * 1000).toISOString(),
    }),
    revision: String(lease.revision),
  };
}

export function leaseTable(leases: readonly LeaseOutput[]): string[] {
  if (leases.length === 0) return ["no leases"];
  if (leases.some(isOfNode)) return nodeTable(leases);
  return formatTable(
    ["SUBNET", "IPV6 SUBNET", "PUBLIC IP", "PUBLIC IPV6", "BACKEND", "EXPIRES IN", "MAC"],
    leases.map((lease) => [
      lease.subnet ?? "",
      lease.ipv6Subnet ?? "",
      lease.publicIp ?? "",
      lease.publicIpv6 ?? "",
      lease.backendType ?? "",
      formatExpiry(lease),
      announcedMac(lease.backendData) ?? announcedMac(lease.backendV6Data) ?? "",
    ]),
  );
}

/** Of Kubernetes, where a lease is named by its Node and lives as long as that. */
function isOfNode({ key }: LeaseOutput): boolean {
  return tryParseLeaseKey(key) === undefined;
}

function nodeTable(leases: readonly LeaseOutput[]): string[] {
  return formatTable(
    ["NODE", "SUBNET", "IPV6 SUBNET", "PUBLIC IP", "PUBLIC IPV6", "BACKEND", "MAC"],
    leases.map((lease) => [
      lease.key,
      lease.subnet ?? "",
      lease.ipv6Subnet ?? "",
      lease.publicIp ?? "",
      lease.publicIpv6 ?? "",
      lease.backendType ?? "",
      announcedMac(lease.backendData) ?? announcedMac(lease.backendV6Data) ?? "",
    ]),
  );
}

export function leasePage(lease: LeaseOutput): string[] {
  return [
    lease.key,
    ...formatPairs([
      ["subnet", lease.subnet],
      ["IPv6 subnet", lease.ipv6Subnet],
      ["public IP", lease.publicIp],
      ["public IPv6", lease.publicIpv6],
      ["backend", lease.backendType ?? "not announced"],
      ["backend data", lease.backendData === undefined ? undefined : JSON.stringify(lease.backendData)],
      ["IPv6 data", lease.backendV6Data === undefined ? undefined : JSON.stringify(lease.backendV6Data)],
      ["expires in", formatExpiry(lease)],
      ["revision", lease.revision],
    ]),
  ];
}

function formatExpiry(lease: LeaseOutput): string {
  if (lease.reserved) return "never (reserved)";
  if (isOfNode(lease)) return "with its Node";
  return lease.expiresInSeconds === undefined ? "unknown" : formatDuration(lease.expiresInSeconds);
}

/** The same plain JSON in the mutable type that the schema infers. */
function mutable(data: BackendData): NonNullable<LeaseOutput["backendData"]> | null {
  if (typeof data !== "object" || data === null) return data;
  if (isList(data)) return data.map(mutable);
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, mutable(value)]));
}

function isList(data: BackendData): data is readonly BackendData[] {
  return Array.isArray(data);
}
