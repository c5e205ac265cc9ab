import { describe, expect, test } from "vitest";
import { noRecorder, ProbeWorld, type SentProbe, worldPath } from "../../test/support/probe-world.ts";
import { parseAddress } from "../ip/address.ts";
import type { ProbePath } from "./probe-path.ts";

function openWorld(paths: readonly ProbePath[], seed = 7, intervalMs = 1_000) {
  const world = new ProbeWorld(seed, intervalMs);
  const changes: string[] = [];
  const network = world.prober.network({
    recorder: noRecorder,
    onMtu: () => undefined,
    onProblem: (reason) => changes.push(reason),
    onChange: ({ path, from }) => changes.push(`${path.path.peer} ${from} > ${path.state}`),
  });
  network.setPaths(paths);
  const states = () => network.peers.flatMap((peer) => peer.paths.map(({ state }) => state));
  return { world, network, changes, states, [Symbol.dispose]: () => world[Symbol.dispose]() };
}

function peers(count: number): ProbePath[] {
  return Array.from({ length: count }, (_, index) => worldPath(index + 1));
}

function silence(world: ProbeWorld, { tunnel, underlay, bridge }: ProbePath): void {
  for (const address of [tunnel, underlay, bridge]) if (address !== undefined) world.silent.add(address);
}

/** The most that left within any second. */
function mostInOneSecond(sent: readonly SentProbe[]): number {
  let [most, from] = [0, 0];
  for (const [to, { atMs }] of sent.entries()) {
    while (atMs - (sent[from]?.atMs ?? atMs) >= 1_000) from++;
    most = Math.max(most, to - from + 1);
  }
  return most;
}

test.each([1, 3, 40, 200])(
  "with %i peers at most 40 probes leave in a second, and one for each peer",
  async (count) => {
    const paths = peers(count);
    using opened = openWorld(paths);
    const { world } = opened;
    await world.run(20_000);
    // Half of them fall silent at once.
    for (const path of paths.slice(0, count / 2)) silence(world, path);
    await world.run(30_000);
    expect(mostInOneSecond(world.sent)).toBeLessThanOrEqual(Math.min(40, count));
    for (const { tunnel, underlay, bridge } of paths) {
      const ofPeer = world.sent.filter(({ target }) => [tunnel, underlay, bridge].includes(target));
      expect(mostInOneSecond(ofPeer)).toBe(1);
    }
    expect(new Set(opened.states())).toEqual(new Set(count > 1 ? ["up", "down"] : ["up"]));
  },
);

test.each([2, 40])("of %i peers a dead one is suspect within 4 s and down within 6", async (count) => {
  const late = { suspect: 0, down: 0 };
  for (let trial = 0; trial < 40; trial++) {
    const paths = peers(count);
    using opened = openWorld(paths, trial + 1);
    const { world, network } = opened;
    await world.run(12_000 + world.random() * 3_000);
    const [path] = paths;
    if (path === undefined) throw new Error("no peer");
    silence(world, path);
    const probed = network.peers[0]?.paths[0];
    const suspectMs = await world.until(() => probed?.state === "suspect");
    const downMs = suspectMs + (await world.until(() => probed?.state === "down"));
    if (suspectMs > 4_000) late.suspect++;
    if (downMs > 6_000) late.down++;
    expect(opened.states().filter((state) => state === "up")).toHaveLength(count - 1);
  }
  expect(late.suspect).toBeLessThanOrEqual(2);
  expect(late.down).toBeLessThanOrEqual(2);
});

test("of 200 peers each is found within a round and three losses, also by a probe that asks for something else", async () => {
  for (let trial = 0; trial < 30; trial++) {
    const paths = peers(200);
    using opened = openWorld(paths, trial + 1);
    const { world, network } = opened;
    await world.run(8_000 + world.random() * 30_000);
    const [path] = paths;
    if (path === undefined) throw new Error("no peer");
    silence(world, path);
    expect(await world.until(() => network.peers[0]?.paths[0]?.state === "suspect")).toBeLessThan(10_500);
  }
});

test("a peer with two families has one turn a second, and a dead one is found as fast", async () => {
  const [path] = peers(1);
  if (path === undefined) throw new Error("no peer");
  const second: ProbePath = {
    ...path,
    family: 6,
    subnet: "fd00::/64" as ProbePath["subnet"],
    tunnel: parseAddress("fd00::"),
    bridge: parseAddress("fd00::1"),
    underlay: parseAddress("fd01::9"),
  };
  using opened = openWorld([path, second]);
  const { world } = opened;
  await world.run(10_000);
  expect(mostInOneSecond(world.sent)).toBe(1);
  expect(opened.states()).toEqual(["up", "up"]);
  silence(world, path);
  silence(world, second);
  expect(await world.until(() => opened.states().includes("down"))).toBeLessThan(7_000);
  await world.until(() => opened.states().every((state) => state === "down"), 30_000);
});

test("a round in which the process stood still is not judged", async () => {
  using opened = openWorld(peers(10));
  const { world } = opened;
  await world.run(5_000);
  for (let round = 0; round < 30; round++) {
    // What was sent before gets lost, as with a machine that stands still.
    for (const path of peers(10)) silence(world, path);
    await world.run(400);
    world.silent.clear();
    await world.tick(1_500);
    await world.run(1_200);
  }
  expect(opened.changes.filter((change) => !change.endsWith("> up"))).toEqual([]);
});

// Kernels call a source address that they do not have by different names; this host has no bridge before its first container.
test.each(["EINVAL", "ENETUNREACH"])(
  "without a bridge here (%s) a peer without one is unknown, not down",
  async (errno) => {
    const [path] = peers(1);
    if (path === undefined) throw new Error("no peer");
    const { tunnel: _, ...withoutTunnel } = path;
    using opened = openWorld([withoutTunnel]);
    const { world } = opened;
    world.sourceRefusal = errno;
    world.silent.add(path.bridge);
    await world.run(30_000);
    expect(opened.states()).toEqual(["unknown"]);
    world.silent.clear();
    expect(await world.until(() => opened.states().includes("up"))).toBeLessThan(20_000);
  },
);

test.each(["ENETUNREACH", "EHOSTUNREACH"])(
  "a missing route to one peer (%s) is that peer's trouble: the others are still asked from our bridge",
  async (errno) => {
    const [lost, ...others] = peers(4).map(({ tunnel: _, ...path }) => path);
    if (lost === undefined) throw new Error("no peer");
    using opened = openWorld([lost, ...others]);
    const { world } = opened;
    await world.run(10_000);
    expect(opened.states()).toEqual(["up", "up", "up", "up"]);
    world.unreachable.set(lost.bridge, errno);
    const before = world.sent.length;
    await world.until(() => opened.states()[0] === "unknown", 30_000);
    await world.run(10_000);
    const toOthers = world.sent.slice(before).filter(({ target }) => others.some(({ bridge }) => bridge === target));
    expect(toOthers.length).toBeGreaterThan(20);
    expect(toOthers.filter(({ source }) => source === undefined)).toEqual([]);
    expect(opened.network.peers[0]?.paths[0]?.cause).toContain(`no route (${errno})`);
  },
);

test("TCP that passes by is listened to only for a peer that TCP did not reach either", async () => {
  const [path] = peers(1);
  if (path?.tunnel === undefined) throw new Error("no peer");
  using opened = openWorld([path]);
  const { world } = opened;
  await world.run(5_000);
  world.silent.add(path.tunnel);
  world.tcpOnly.add(path.tunnel);
  await world.run(20_000);
  expect(opened.states()).toEqual(["up"]);
  expect(world.listened).toEqual([]);
  world.tcpOnly.clear();
  await world.run(20_000);
  expect(world.listened).toContain(path.subnet);
});

describe("only the reply to a probe counts", () => {
  test.each([
    ["from another address", { source: parseAddress("10.9.9.9") }],
    ["with another sequence", { sequence: 0 }],
    ["with another token", { payload: new Uint8Array(56).fill(7) }],
    ["of another size", { packetBytes: 85 }],
  ])("%s it does not", async (_, changed) => {
    using opened = openWorld(peers(1));
    opened.world.distort = (event) => (event.type === "reply" ? { ...event, ...changed } : event);
    await opened.world.run(20_000);
    expect(opened.states()).toEqual(["unknown"]);
  });
});

test("late answers are answers: a long way is not a dead one", async () => {
  using opened = openWorld(peers(2));
  for (const { tunnel } of peers(2)) if (tunnel !== undefined) opened.world.rttMs.set(tunnel, 1_400);
  await opened.world.run(60_000);
  expect(opened.states()).toEqual(["up", "up"]);
  expect(opened.network.peers[0]?.paths[0]?.quality.summary()).toMatchObject({
    rttMs: { p50: expect.closeTo(1_400, -2) },
  });
});

test("hosts that are gone are forgotten, those that stay are not, and new ones are probed at once", async () => {
  using opened = openWorld(peers(300));
  const { world, network } = opened;
  await world.run(20_000);
  const kept = network.peers[0];
  network.setPaths([...peers(1), worldPath(999)]);
  expect(network.peers[0]).toBe(kept);
  expect(await world.until(() => opened.states().every((state) => state === "up"))).toBeLessThan(500);
  const before = world.sent.length;
  network.setPaths([]);
  await world.run(2_000);
  expect(world.sent.length).toBe(before);
});

test("most peers silent at once: all are found, none is asked more often", async () => {
  const paths = peers(120);
  using opened = openWorld(paths);
  const { world } = opened;
  await world.run(8_000);
  for (const path of paths.slice(10)) silence(world, path);
  await world.until(() => opened.states().filter((state) => state === "down").length === 110, 60_000);
  expect(opened.states().filter((state) => state === "up")).toHaveLength(10);
  world.silent.clear();
  await world.until(() => opened.states().every((state) => state === "up"), 30_000);
});
