// A lease as it stands in etcd, read apart from the agent's own reader, so that the two check each other.
import type { Etcd, EtcdEntry } from "./etcd.ts";

/** What a subnet key and its value say; a family the lease does not have is undefined. */
export interface LeaseView {
  readonly subnet: string | undefined;
  readonly ipv6Subnet: string | undefined;
  readonly publicIp: string | undefined;
  readonly publicIpv6: string | undefined;
  readonly backend: string;
  readonly mac: string | undefined;
  readonly macV6: string | undefined;
}

/** All leases under the prefix, in the order of their keys. */
export async function leases(etcd: Etcd, prefix = "/coreos.com/network"): Promise<readonly LeaseView[]> {
  return (await etcd.list(`${prefix}/subnets/`)).map(readLease);
}

/** The lease whose PublicIP or PublicIPv6 is this address. Throws when there is none, or more than one. */
export async function leaseEntryOf(etcd: Etcd, address: string, prefix = "/coreos.com/network"): Promise<EtcdEntry> {
  const entries = (await etcd.list(`${prefix}/subnets/`)).filter((entry) => entry.value.includes(`"${address}"`));
  const [entry] = entries;
  if (entry === undefined || entries.length > 1) throw new Error(`${entries.length} leases announce ${address}`);
  return entry;
}

/** Throws when key or value are not as flannel writes them. */
export function readLease({ key, value: text }: Pick<EtcdEntry, "key" | "value">): LeaseView {
  const value = JSON.parse(text) as {
    PublicIP?: string;
    PublicIPv6?: string | null;
    BackendType?: string;
    BackendData?: { VtepMAC?: string };
    BackendV6Data?: { VtepMAC?: string };
  };
  const ipv6Part = /&(.+)-(\d+)$/.exec(key);
  const subnet = subnetOfKey(key);
  return {
    subnet: subnet === "0.0.0.0/0" ? undefined : subnet,
    ipv6Subnet: ipv6Part === null ? undefined : `${ipv6Part[1]}/${ipv6Part[2]}`,
    publicIp: value.PublicIP === "0.0.0.0" ? undefined : value.PublicIP,
    publicIpv6: value.PublicIPv6 ?? undefined,
    backend: value.BackendType ?? "",
    mac: value.BackendData?.VtepMAC,
    macV6: value.BackendV6Data?.VtepMAC,
  };
}

/** The IPv4 part of a lease key as a prefix, `10.5.2.0/24`. */
export function subnetOfKey(key: string): string {
  return (key.split("/").at(-1)?.split("&")[0] ?? "").replace(/-(\d+)$/, "/$1");
}
