// A container as far as the network sees one: a namespace behind a bridge on its host, wired as container tools wire
// it from subnet.env.
import type { LabHost } from "./host.ts";
import { createNamespaces, Namespace, removeNamespaces } from "./namespace.ts";
import type { SubnetEnv } from "./subnet-env.ts";

export interface Pod {
  readonly name: string;
  readonly host: LabHost;
  readonly namespace: Namespace;
  /** Without length; undefined when the subnet has no such family. */
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
  readonly mtuBytes: number;
}

/** Names of the devices of a container on its host. */
export interface PodDevices {
  readonly bridge: string;
  readonly port: string;
}

const usualDevices: PodDevices = { bridge: "cni0", port: "pod0" };

/**
 * Makes the bridge cni0 with the subnet's gateway address on the host and a container behind it, with the second
 * address of the subnet. Calling it again (other MTU, other subnet) replaces both. The default name is `<host>-pod`.
 */
export async function attachPod(
  host: LabHost,
  env: SubnetEnv,
  name = `${host.name}-pod`,
  { bridge, port }: PodDevices = usualDevices,
): Promise<Pod> {
  await detachPod(host, name, { bridge, port });
  await createNamespaces([name]);
  const gateways = [env.subnet, env.ipv6Subnet].filter((value) => value !== undefined);
  await host.namespace.ipBatch([
    `link add dev ${bridge} mtu ${env.mtuBytes} type bridge`,
    ...gateways.map((gateway) => `addr add ${gateway} dev ${bridge}${gateway.includes(":") ? " nodad" : ""}`),
    `link set dev ${bridge} up`,
    `link add dev ${port} mtu ${env.mtuBytes} type veth peer name eth0 mtu ${env.mtuBytes} netns ${name}`,
    `link set dev ${port} master ${bridge} up`,
  ]);
  const namespace = new Namespace(name);
  await namespace.ipBatch(["link set dev eth0 up", ...gateways.flatMap((gateway) => podLines(gateway))]);
  return {
    name,
    host,
    namespace,
    ipv4: env.subnet === undefined ? undefined : podAddress(env.subnet),
    ipv6: env.ipv6Subnet === undefined ? undefined : podAddress(env.ipv6Subnet),
    mtuBytes: env.mtuBytes,
  };
}

/** Removes the container and the bridge when they are there. */
async function detachPod(host: LabHost, name: string, { bridge, port }: PodDevices): Promise<void> {
  const links = await host.namespace.ipJson("link", "show");
  const present = links.map((link) => String(link["ifname"]));
  const ours = [port, bridge].filter((device) => present.includes(device));
  await host.namespace.ipBatch(ours.map((device) => `link del dev ${device}`));
  await removeNamespaces([name]);
}

/** Changes the MTU of the container's whole path on its host: what a container tool does after a new subnet.env. */
export async function setPodMtu(pod: Pod, mtuBytes: number): Promise<void> {
  await pod.host.namespace.ipBatch(["cni0", "pod0"].map((device) => `link set dev ${device} mtu ${mtuBytes}`));
  await pod.namespace.ip("link", "set", "dev", "eth0", "mtu", String(mtuBytes));
}

function podLines(gateway: string): readonly string[] {
  const [address = "", length = ""] = gateway.split("/");
  return [
    `addr add ${podAddress(gateway)}/${length} dev eth0${address.includes(":") ? " nodad" : ""}`,
    `route add default via ${address} dev eth0`,
  ];
}

/** The gateway has the subnet's first address, the container the second. */
function podAddress(gateway: string): string {
  const [address = ""] = gateway.split("/");
  const match = /^(.*[.:])([0-9a-f]+)$/.exec(address);
  if (match === null) throw new Error(`not a gateway address: ${gateway}`);
  const [, head = "", tail = ""] = match;
  const base = address.includes(":") ? 16 : 10;
  return `${head}${(Number.parseInt(tail, base) + 1).toString(base)}`;
}
