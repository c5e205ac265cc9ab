// 1,000 WireGuard peers, served by wireguard-go: what they cost the agent at a first start, at a start that finds them, and
// while nothing happens, beside `wg` with the same peers.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { LabHost } from "../lab/host.ts";
import { startWireguardGo, wgDump, wgTimed, wireguardAgent } from "../lab/wireguard-host.ts";
import { formatLeaseValue } from "../src/lease/lease-value.ts";
import { type BenchSet, type Figure, medianFigure } from "./bench-set.ts";
import { type Peer, type PeersForm, peers, writePeers } from "./peers.ts";
import { BenchAgent, createWorld, type World } from "./world.ts";

const PEERS = 1_000;
const PORT = 51_820;
const device = "flannel-wg";
const IDLE_MS = 30_000;
/** Of the kernel's counters of processor time. */
const TICKS_PER_SECOND = 100;

const form: PeersForm = {
  config: JSON.stringify({ Network: "10.0.0.0/8", SubnetLen: 24, Backend: { Type: "wireguard" } }),
  leaseOf: (peer) =>
    formatLeaseValue({
      publicIp: peer.publicIp,
      backendType: "wireguard",
      backendData: { PublicKey: keyOf(peer), Port: PORT },
    }),
};

/** Any 32 bytes are a public key. */
function keyOf({ gateway }: Peer): string {
  return createHash("sha256").update(gateway).digest("base64");
}

interface Start {
  /** From the start of the process to `agent.ready`. */
  readonly tookMs: number;
  /** Of all threads outside of the kernel, meanwhile. */
  readonly userMs: number;
  readonly kernelMs: number;
}

interface Samples {
  readonly empty: Start[];
  readonly first: Start[];
  readonly again: Start[];
  readonly idlePercent: number[];
  readonly setconfMs: number[];
  readonly syncconfMs: number[];
}

export const wireguardSet: BenchSet = {
  name: "wireguard",
  title: "1,000 WireGuard peers with wireguard-go, beside wg with the same ones",
  async run({ rounds, progress }) {
    await using world = await createWorld(2);
    await writePeers(world.etcd.endpoints, prefixOf(0), 0, form);
    await writePeers(world.etcd.endpoints, prefixOf(PEERS), PEERS, form);
    const samples: Samples = { empty: [], first: [], again: [], idlePercent: [], setconfMs: [], syncconfMs: [] };
    for (let round = 1; round <= rounds; round++) {
      progress(`round ${round} of ${rounds}`);
      samples.empty.push(await timeFirst(world, 0));
      await timeAll(world, samples);
      await timeWg(world.lan.host(2), samples);
    }
    return { figures: figuresOf(samples), notes: [note] };
  },
};

const note =
  "User time is that of all threads of the agent's process, without what the kernel does for it; wireguard-go is a process of its own.\n" +
  "wg setconf makes the peers on a device without any, wg syncconf finds them there; both read no store and make no lease.";

function prefixOf(count: number): string {
  return `/wireguard/${count}`;
}

function startAgent({ lan, etcd }: World, count: number): BenchAgent {
  const { program, keyFile } = wireguardAgent(lan.host(1));
  return BenchAgent.start(lan.host(1), etcd, prefixOf(count), { WIREGUARD_KEY_FILE: keyFile }, program);
}

async function timed(agent: BenchAgent): Promise<Start> {
  const tookMs = await agent.msToEvent("agent.ready");
  return { tookMs, ...processTimes(agent.agent.pid) };
}

async function timeFirst(world: World, count: number): Promise<Start> {
  await using agent = startAgent(world, count);
  return await timed(agent);
}

async function timeAll(world: World, samples: Samples): Promise<void> {
  const first = startAgent(world, PEERS);
  samples.first.push(await timed(first));
  await requirePeers(world.lan.host(1));
  await first.agent.kill9();
  await using again = startAgent(world, PEERS);
  samples.again.push(await timed(again));
  await requirePeers(world.lan.host(1));
  const before = processTimes(again.agent.pid);
  const startedMs = performance.now();
  await delay(IDLE_MS);
  const after = processTimes(again.agent.pid);
  const usedMs = after.userMs + after.kernelMs - before.userMs - before.kernelMs;
  samples.idlePercent.push((100 * usedMs) / (performance.now() - startedMs));
}

async function timeWg(host: LabHost, samples: Samples): Promise<void> {
  mkdirSync(host.runDirectory, { recursive: true });
  const file = join(host.runDirectory, "peers.conf");
  const sections = peers(PEERS).map((peer) =>
    ["[Peer]", `PublicKey = ${keyOf(peer)}`, `AllowedIPs = ${peer.subnet}`, `Endpoint = ${peer.publicIp}:${PORT}`].join(
      "\n",
    ),
  );
  const own = `[Interface]\nPrivateKey = ${Buffer.alloc(32, 72).toString("base64")}\nListenPort = ${PORT}\n`;
  writeFileSync(file, `${own}\n${sections.join("\n\n")}\n`, { mode: 0o600 });
  await startWireguardGo(host, device);
  samples.setconfMs.push(await wgTimed(host, "setconf", device, file));
  samples.syncconfMs.push(await wgTimed(host, "syncconf", device, file));
  await requirePeers(host);
  await host.namespace.ip("link", "del", "dev", device);
}

async function requirePeers(host: LabHost): Promise<void> {
  const found = (await wgDump(host, device)).peers;
  const wanted = new Map(peers(PEERS).map((peer) => [keyOf(peer), peer]));
  const right = found.filter(({ publicKey, endpoint, allowedIps }) => {
    const peer = wanted.get(publicKey);
    return peer !== undefined && endpoint === `${peer.publicIp}:${PORT}` && allowedIps.join() === peer.subnet;
  });
  if (right.length === PEERS && found.length === PEERS) return;
  throw new Error(`${device} has ${found.length} peers, ${right.length} of them as they should be`);
}

function processTimes(pid: number): { readonly userMs: number; readonly kernelMs: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // proc(5): utime and stime are fields 14 and 15; the name in field 2 may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ms = (field: number) => (Number(fields[field - 3]) * 1_000) / TICKS_PER_SECOND;
  return { userMs: ms(14), kernelMs: ms(15) };
}

function figuresOf({ empty, first, again, idlePercent, setconfMs, syncconfMs }: Samples): readonly Figure[] {
  const took = (starts: readonly Start[]) => starts.map(({ tookMs }) => tookMs);
  const user = (starts: readonly Start[]) => starts.map(({ userMs }) => userMs);
  const beyondEmpty = (starts: readonly Start[], divisors: readonly number[]) =>
    starts.map(({ tookMs }, round) => (tookMs - (empty[round]?.tookMs ?? 0)) / (divisors[round] ?? Number.NaN));
  return [
    medianFigure({ name: "start without peers", unit: "ms" }, took(empty)),
    medianFigure({ name: "of it our own user time", unit: "ms" }, user(empty)),
    medianFigure({ name: "first start, 1,000 peers", unit: "ms" }, took(first)),
    medianFigure({ name: "of it our own user time", unit: "ms", atMost: 500 }, user(first)),
    medianFigure({ name: "start that finds 1,000 peers", unit: "ms" }, took(again)),
    medianFigure({ name: "of it our own user time", unit: "ms", atMost: 500 }, user(again)),
    medianFigure({ name: "idle with 1,000 peers, of one core", unit: "%" }, idlePercent),
    medianFigure({ name: "wg setconf", unit: "ms" }, setconfMs),
    medianFigure({ name: "wg syncconf", unit: "ms" }, syncconfMs),
    medianFigure({ name: "what peers add to the first start / wg setconf", unit: "×" }, beyondEmpty(first, setconfMs)),
    medianFigure({ name: "what they add to the next start / wg syncconf", unit: "×" }, beyondEmpty(again, syncconfMs)),
  ];
}
