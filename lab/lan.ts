// Builds the lab's network: a LAN (or two, with a router between) and hosts on it, all inside the box.
import { requireBox } from "./box.ts";
import { LabHost, type LanSegment } from "./host.ts";
import { keepUntilSeen } from "./keep-box.ts";
import { boxNamespace, createNamespaces, removeNamespaces } from "./namespace.ts";

export interface LanOptions {
  /** Hosts h1..hN on the first LAN. Default 3. */
  readonly hosts?: number;
  /** Further hosts on a second LAN: reached through a router, so not "direct". Default 0. */
  readonly routedHosts?: number;
  /** Default true. */
  readonly ipv4?: boolean;
  /** Default false. */
  readonly ipv6?: boolean;
  /** Default 1500. */
  readonly mtuBytes?: number;
}

/** Disposing removes hosts, bridges and routers; whatever still runs in a host must be stopped by who started it. */
export interface Lan extends AsyncDisposable {
  readonly hosts: readonly LabHost[];
  /** Where a store listens: the first LAN's router address. */
  readonly storeAddress: string;
  /** The host with that number, from 1. */
  host(number: number): LabHost;
  /**
   * Throws the host's network namespace away and makes a new one with the same addresses: a machine that was off. Its
   * processes must have ended.
   */
  replaceHost(host: LabHost): Promise<void>;
}

/**
 * `h1`, `h2`, … with 192.168.50.11, .12, … and fd00:50::11, ::12, … on the bridge lan0 (192.168.50.1, fd00:50::1);
 * routed hosts go on counting on lan1 with 60 in place of 50. The box's own namespace is switch and router.
 */
export async function createLan(options: LanOptions = {}): Promise<Lan> {
  requireBox();
  const direct = options.hosts ?? 3;
  const routed = options.routedHosts ?? 0;
  const segments = [segmentOf(0, options), segmentOf(1, options)] as const;
  const usedSegments = routed > 0 ? segments : [segments[0]];
  const hosts = Array.from({ length: direct + routed }, (_, index) =>
    hostOf(index + 1, index < direct ? 0 : 1, segments, options),
  );
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => removeLan(usedSegments, hosts));
  await createNamespaces(hosts.map((host) => host.name));
  await boxNamespace.ipBatch([
    ...usedSegments.flatMap((segment) => bridgeLines(segment)),
    ...hosts.flatMap((host) => portLines(host)),
  ]);
  await boxNamespace.sysctl({ "net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1 });
  for (const host of hosts) await host.prepare();
  const disposer = cleanup.move();
  return {
    hosts,
    storeAddress: segments[0].ipv4Gateway ?? segments[0].ipv6Gateway ?? "127.0.0.1",
    host: (number) => hostWithNumber(hosts, number),
    replaceHost,
    async [Symbol.asyncDispose]() {
      await keepUntilSeen();
      await disposer.disposeAsync();
    },
  };
}

async function replaceHost(host: LabHost): Promise<void> {
  // The port goes with its other end, but a moment later.
  await boxNamespace.ip("link", "del", "dev", host.name);
  await removeNamespaces([host.name]);
  await createNamespaces([host.name]);
  await boxNamespace.ipBatch(portLines(host));
  await host.prepare();
}

function hostWithNumber(hosts: readonly LabHost[], number: number): LabHost {
  const host = hosts[number - 1];
  if (host === undefined) throw new Error(`the lab has no host ${number}, only 1..${hosts.length}`);
  return host;
}

function segmentOf(index: 0 | 1, options: LanOptions): LanSegment {
  const third = 50 + 10 * index;
  return {
    bridge: `lan${index}`,
    ipv4Gateway: options.ipv4 === false ? undefined : `192.168.${third}.1`,
    ipv6Gateway: options.ipv6 === true ? `fd00:${third}::1` : undefined,
  };
}

function hostOf(
  number: number,
  segment: 0 | 1,
  segments: readonly [LanSegment, LanSegment],
  options: LanOptions,
): LabHost {
  const third = 50 + 10 * segment;
  return new LabHost({
    name: `h${number}`,
    segment: segments[segment],
    ipv4: options.ipv4 === false ? undefined : `192.168.${third}.${10 + number}`,
    ipv6: options.ipv6 === true ? `fd00:${third}::${10 + number}` : undefined,
    mtuBytes: options.mtuBytes ?? 1500,
  });
}

function bridgeLines(segment: LanSegment): readonly string[] {
  const lines = [`link add dev ${segment.bridge} type bridge`, `link set dev ${segment.bridge} up`];
  if (segment.ipv4Gateway !== undefined) lines.push(`addr add ${segment.ipv4Gateway}/24 dev ${segment.bridge}`);
  if (segment.ipv6Gateway !== undefined) lines.push(`addr add ${segment.ipv6Gateway}/64 dev ${segment.bridge} nodad`);
  return lines;
}

function portLines(host: LabHost): readonly string[] {
  return [
    `link add dev ${host.name} mtu ${host.mtuBytes} type veth peer name eth0 mtu ${host.mtuBytes} netns ${host.name}`,
    `link set dev ${host.name} master ${host.segment.bridge} up`,
  ];
}

async function removeLan(segments: readonly LanSegment[], hosts: readonly LabHost[]): Promise<void> {
  const names = new Set([...segments.map((segment) => segment.bridge), ...hosts.map((host) => host.name)]);
  const links = await boxNamespace.ipJson("link", "show");
  const present = links.map((link) => String(link["ifname"])).filter((name) => names.has(name));
  await boxNamespace.ipBatch(present.map((name) => `link del dev ${name}`));
  await removeNamespaces(hosts.map((host) => host.name));
}
