// Hosts that exist only as leases in the store, and what another host's kernel must hold for them. Vxlan, IPv4.
import type { Etcd } from "../../lab/etcd.ts";
import { fdb, neighbours, routes } from "../../lab/kernel-view.ts";
import type { Namespace } from "../../lab/namespace.ts";
import { untilLines } from "../../lab/wait.ts";

export const prefix = "/coreos.com/network";
export const configKey = `${prefix}/config`;
export const leaseDirectory = `${prefix}/subnets/`;

/** 10.5.0.0/16 in /24s, vxlan. */
export const vxlanConfig = { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } };

export interface StorePeer {
  readonly subnet: string;
  readonly publicIp: string;
  readonly mac: string;
}

/** Number 1 to 99; subnets 10.5.101.0/24 and up. Agents in these tests are free to take any lower one. */
export function storePeer(number: number, changes: Partial<StorePeer> = {}): StorePeer {
  const byte = number.toString(16).padStart(2, "0");
  return {
    subnet: `10.5.${100 + number}.0/24`,
    publicIp: `192.168.50.${100 + number}`,
    mac: `02:00:5e:00:00:${byte}`,
    ...changes,
  };
}

/** The own subnet of an agent under test must not be one of those above. */
export const agentRange = { SubnetMin: "10.5.1.0", SubnetMax: "10.5.99.0" };

export function leaseKey({ subnet }: StorePeer): string {
  return leaseDirectory + subnet.replace("/", "-");
}

export function leaseValue({ publicIp, mac }: StorePeer): string {
  const data = { BackendType: "vxlan", BackendData: { VNI: 1, VtepMAC: mac } };
  return JSON.stringify({ PublicIP: publicIp, PublicIPv6: null, ...data });
}

export async function putConfig(etcd: Etcd, config: object = { ...vxlanConfig, ...agentRange }): Promise<void> {
  await etcd.put(configKey, JSON.stringify(config));
}

export async function putPeers(etcd: Etcd, peers: readonly StorePeer[]): Promise<void> {
  for (const peer of peers) await etcd.put(leaseKey(peer), leaseValue(peer));
}

/** Routes, neighbours and forwarding entries of the vxlan device, each with its kind in front. */
export async function vxlanLines(namespace: Namespace, device = "flannel.1"): Promise<readonly string[]> {
  const kinds = [
    (await routes(namespace, "dev", device)).map((line) => `route ${line.replace(/ nhid \d+/, "")}`),
    (await neighbours(namespace, device)).map((line) => `neigh ${line}`),
    (await fdb(namespace, device)).map((line) => `fdb ${line}`),
  ];
  return kinds.flat();
}

export function linesOf({ subnet, publicIp, mac }: StorePeer): readonly string[] {
  const gateway = subnet.split("/")[0];
  return [
    `route ${subnet} via ${gateway} onlink`,
    `neigh ${gateway} lladdr ${mac} PERMANENT`,
    `fdb ${mac} dst ${publicIp} self permanent`,
  ];
}

/** Waits until the kernel holds what these peers need, and nothing else on the device. */
export async function untilPeers(
  namespace: Namespace,
  peers: readonly StorePeer[],
  options: { readonly what?: string; readonly timeoutMs?: number } = {},
): Promise<void> {
  await untilLines(() => vxlanLines(namespace), peers.flatMap(linesOf), {
    what: options.what ?? "exactly the peers' kernel objects",
    intervalMs: 50,
    ...(options.timeoutMs !== undefined && { timeoutMs: options.timeoutMs }),
  });
}
