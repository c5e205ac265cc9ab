// A host's desired state for tests of the reconciler: one vxlan device and numbered peers, and the kernel's view of it.
import { fdb, neighbours, routes } from "../../lab/kernel-view.ts";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { untilLines } from "../../lab/wait.ts";
import type { HostState } from "../../src/host/kinds/host-state.ts";
import type { VxlanLink } from "../../src/host/kinds/link-form.ts";
import type { HostRoute } from "../../src/host/kinds/route-form.ts";
import { type Address, parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { addToAddress } from "../../src/ip/prefix.ts";
import type { Logger } from "../../src/telemetry/logger.ts";

export const device = "flannel.1";
export const network = parsePrefix("10.0.0.0/8");

export const vtep: VxlanLink = {
  kind: "vxlan",
  name: device,
  mac: "0a:00:00:00:00:01",
  mtuBytes: 1450,
  vni: 1,
  port: 0,
  local: parseAddress("192.168.50.11"),
  underlay: "eth0",
  learning: false,
  gbp: false,
};

export const own = {
  link: [vtep],
  sysctl: [{ key: `net/ipv6/conf/${device}/accept_ra`, value: "0" }],
  address: [{ device, address: parsePrefix("10.0.0.0/32") }],
} satisfies HostState;

export function macOf(peer: number): string {
  return `0a:00:00:00:${[peer >> 8, peer & 255].map((byte) => byte.toString(16).padStart(2, "0")).join(":")}`;
}

/** Subnet start of a peer, from 1 up: 10.0.1.0, 10.0.2.0, … */
export function gatewayOf(peer: number): Address {
  return addToAddress(parseAddress("10.0.0.0"), BigInt(peer) << 8n);
}

export function hostOf(peer: number): Address {
  return addToAddress(parseAddress("192.168.50.11"), BigInt(peer));
}

function overlayRoute(peer: number): HostRoute {
  return { destination: parsePrefix(`${gatewayOf(peer)}/24`), device, gateway: gatewayOf(peer), onLink: true };
}

function gatewayRoute(peer: number): HostRoute {
  return { destination: parsePrefix(`${gatewayOf(peer)}/24`), device: "eth0", gateway: hostOf(peer), onLink: false };
}

/** Our device and these peers on it. */
export function overlayState(...peers: readonly number[]) {
  return {
    ...own,
    neighbour: peers.map((peer) => ({ device, address: gatewayOf(peer), mac: macOf(peer) })),
    fdb: peers.map((peer) => ({ device, mac: macOf(peer), destination: hostOf(peer) })),
    route: peers.map(overlayRoute),
  } satisfies HostState;
}

export function gatewayState(...peers: readonly number[]) {
  return { route: peers.map(gatewayRoute) } satisfies HostState;
}

export function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

/** Waits until `ip` and `bridge` show exactly these peers on our device. */
export async function untilPeers(...peers: readonly number[]): Promise<void> {
  const routeLines = peers.map((peer) => `${overlayRoute(peer).destination} via ${gatewayOf(peer)} onlink`);
  await untilLines(
    async () => (await routes(box, "dev", device)).map((line) => line.replace(/ nhid \d+/, "")),
    routeLines,
    { what: "the peers' routes" },
  );
  const neighbourLines = peers.map((peer) => `${gatewayOf(peer)} lladdr ${macOf(peer)} PERMANENT`);
  await untilLines(() => neighbours(box, device), neighbourLines, { what: "the peers' neighbours" });
  const fdbLines = peers.map((peer) => `${macOf(peer)} dst ${hostOf(peer)} self permanent`);
  await untilLines(() => fdb(box, device), fdbLines, { what: "the peers' forwarding entries" });
}

/** eth0 with 192.168.50.11/16 (and fd00:50::11/64), its other end up. */
export async function makeEth0(): Promise<void> {
  await box.ip("link", "add", "dev", "eth0", "type", "veth", "peer", "name", "lan");
  await box.ip("addr", "add", "192.168.50.11/16", "dev", "eth0");
  await box.ip("-6", "addr", "add", "fd00:50::11/64", "dev", "eth0", "nodad");
  await box.ip("link", "set", "dev", "lan", "up");
  await box.ip("link", "set", "dev", "eth0", "up");
}

export interface LogLine {
  readonly event: string;
  readonly message: string;
}

/** A logger that remembers. */
export function recordingLogger(): { readonly logger: Logger; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const record = (event: string, message: string): void => void lines.push({ event, message });
  return { lines, logger: { error: record, warn: record, info: record, verbose: () => undefined } };
}
