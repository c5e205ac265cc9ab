// The kernel objects of made-up peers: checks that all are there, and makes them with iproute2 for comparison.
import { run } from "../lab/command.ts";
import type { LabHost } from "../lab/host.ts";
import { fdb, neighbours, routes } from "../lab/kernel-view.ts";
import type { Namespace } from "../lab/namespace.ts";
import type { Peer } from "./peers.ts";

export const vxlanDevice = "flannel.1";

/** The agent's own limit: up to here a route names its gateway, beyond it goes through a next-hop object. */
const PLAIN_ROUTES = 1_000;

/**
 * Throws unless every peer's route, neighbour and FDB entry is in the kernel, and nothing else of the kind but those of
 * `others` further peers.
 */
export async function requirePeerObjects(namespace: Namespace, peers: readonly Peer[], others = 0): Promise<void> {
  const routeLines = await routes(namespace, "dev", vxlanDevice);
  const routesSeen = new Set(routeLines.map((line) => firstThreeWords(line.replace(/ nhid \d+/, ""))));
  const neighbourLines = await neighbours(namespace, vxlanDevice);
  const neighboursSeen = new Set(neighbourLines.map(firstThreeWords));
  const fdbLines = await fdb(namespace, vxlanDevice);
  const fdbSeen = new Set(fdbLines.map(firstThreeWords));
  const missing = peers.flatMap(({ subnet, gateway, publicIp, mac }) => [
    ...(routesSeen.has(`${subnet} via ${gateway}`) ? [] : [`route to ${subnet}`]),
    ...(neighboursSeen.has(`${gateway} lladdr ${mac}`) ? [] : [`neighbour ${gateway}`]),
    ...(fdbSeen.has(`${mac} dst ${publicIp}`) ? [] : [`forwarding entry to ${publicIp}`]),
  ]);
  if (missing.length > 0) throw new Error(`not in the kernel: ${missing.length} objects, first ${missing[0]}`);
  const found = [routesSeen.size, neighboursSeen.size, fdbSeen.size];
  if (found.some((count) => count !== peers.length + others)) {
    throw new Error(
      `for ${peers.length + others} peers the kernel has ${found.join(", ")} routes, neighbours, FDB entries`,
    );
  }
}

function firstThreeWords(line: string): string {
  return line.split(" ").slice(0, 3).join(" ");
}

/**
 * Makes the same objects in the same forms with three iproute2 processes on a device of its own, and returns the
 * milliseconds they took; removes them again.
 */
export async function timeIproute(host: LabHost, peers: readonly Peer[]): Promise<number> {
  const { namespace } = host;
  const device = `dev ${vxlanDevice}`;
  await namespace.ipBatch([
    `link add ${device} type vxlan id 1 local ${host.ipv4} dev eth0 dstport 8472 nolearning`,
    `addr add 10.255.255.0/32 ${device}`,
    `link set ${device} up`,
  ]);
  const neighbourLines = peers.map(
    ({ gateway, mac }) => `neigh replace ${gateway} lladdr ${mac} ${device} nud permanent`,
  );
  const fdbLines = peers.map(({ mac, publicIp }) => `fdb replace ${mac} dst ${publicIp} ${device} self permanent`);
  const routeLines = peers.flatMap(({ subnet, gateway }, index) =>
    index < PLAIN_ROUTES
      ? [`route add ${subnet} via ${gateway} ${device} onlink`]
      : [`nexthop add id ${index} via ${gateway} ${device} onlink`, `route add ${subnet} nhid ${index}`],
  );
  const startedMs = performance.now();
  await batch("ip", namespace, neighbourLines);
  await batch("bridge", namespace, fdbLines);
  await batch("ip", namespace, routeLines);
  const tookMs = performance.now() - startedMs;
  await requirePeerObjects(namespace, peers);
  await namespace.ip("link", "del", "dev", vxlanDevice);
  return tookMs;
}

async function batch(program: string, { name }: Namespace, lines: readonly string[]): Promise<void> {
  await run([program, "-n", name, "-batch", "-"], { input: `${lines.join("\n")}\n`, timeoutMs: 300_000 });
}
