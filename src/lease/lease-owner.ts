// Whose lease is it, and what does its owner announce? Pure.
import type { Lease, LeaseAttributes, LeasedSubnets } from "./lease.ts";

/** Whether two leases announce the same host: by IPv4 address, or by IPv6 where neither has one. */
export function hasSamePublicIp(a: LeaseAttributes, b: LeaseAttributes): boolean {
  if (a.publicIp === undefined && b.publicIp === undefined) return a.publicIpv6 === b.publicIpv6;
  return a.publicIp === b.publicIp;
}

export function hasSameSubnets(a: LeasedSubnets, b: LeasedSubnets): boolean {
  return a.subnet === b.subnet && a.ipv6Subnet === b.ipv6Subnet;
}

/** The owner as a lease tells it, for a person: `192.0.2.7 (vxlan {"VtepMAC":…})`. */
export function describeOwner({
  publicIp,
  publicIpv6,
  backendType,
  backendData,
  backendV6Data,
}: LeaseAttributes): string {
  const data = [backendData, backendV6Data].filter((part) => part !== undefined && part !== null);
  const backend = [backendType ?? "", ...data.map((part) => JSON.stringify(part))].filter((part) => part !== "");
  const address = [publicIp, publicIpv6].filter((part) => part !== undefined).join(" and ") || "an unknown host";
  return backend.length === 0 ? address : `${address} (${backend.join(" ")})`;
}

/**
 * `attributes` with what our lease announces of a family that it has a subnet of and this host has no address of now:
 * that subnet stays ours, and peers keep what they know until the address is back.
 */
export function withLostFamily(
  attributes: LeaseAttributes,
  lease: Pick<Lease, "ipv6Subnet" | "attributes">,
): LeaseAttributes {
  const { publicIpv6, backendV6Data } = lease.attributes;
  if (lease.ipv6Subnet === undefined || attributes.publicIpv6 !== undefined || publicIpv6 === undefined)
    return attributes;
  return { ...attributes, publicIpv6, ...(backendV6Data !== undefined && { backendV6Data }) };
}
