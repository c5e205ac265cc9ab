import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../../../test/support/fuzz.ts";
import type { Peer } from "../../../agent/control/journal-protocol.ts";
import { isOneWay } from "../../../dashboard/pair-words.ts";
import { shortView } from "../doctor/peer-view.ts";
import type { SeenPeer } from "../session/doctor-output.ts";
import { MAX_SHOWN, Sightings } from "./sightings.ts";

const hostsOf = (count: number) => Array.from({ length: count }, (_, at) => ({ key: `10.5.${at}.0-24` }));
const keyOf = (at: number) => `10.5.${at}.0-24`;
const AT_MS = Date.parse("2026-03-01T10:00:00Z");

test("tells a way that one of two hosts alone sees broken, a host that nobody reaches, and a lease that a host does not know", () => {
  const sightings = new Sightings();
  const tell = (from: number, states: Readonly<Record<number, SeenPeer["state"]>>) => {
    const peers = Object.entries(states).map(([to, state]) => ({ key: keyOf(Number(to)), state, rttSeconds: 0.5 }));
    sightings.put({ lease: keyOf(from), peers, morePeers: 0 }, `h${from}`, AT_MS);
  };
  tell(0, { 1: "up", 2: "up", 3: "down" });
  tell(1, { 0: "up", 2: "down", 3: "down" });
  tell(2, { 0: "up", 1: "slow", 3: "down" });
  const [h0, h1, h2, h3] = hostsOf(4);
  const late = { key: keyOf(4), changedAtMs: AT_MS };
  const { matrix, rows } = sightings.matrix([h0!, h1!, h2!, h3!, late, { key: keyOf(5) }], keyOf(0));
  expect(matrix).toMatchObject({
    ...{ total: 6, told: 3, troubled: 7, unreached: [{ key: keyOf(3), witnesses: 3 }] },
    pairs: [
      { from: keyOf(1), to: keyOf(2), state: "down", back: "slow" },
      ...[0, 1, 2].map((from) => ({ from: keyOf(from), to: keyOf(5), state: "absent" })),
    ],
  });
  expect(rows.get(keyOf(1))).toMatchObject({ name: "h1", toldAt: "2026-03-01T10:00:00.000Z" });
  expect(rows.get(keyOf(1))?.seen[keyOf(0)]).toEqual({ state: "up", rttSeconds: 0.5 });
  // Who told before the lease was there cannot know it.
  expect(rows.get(keyOf(1))?.seen[keyOf(4)]).toBeUndefined();
  expect(rows.get(keyOf(3))).toEqual({ seen: {} });
});

test("agrees with looking at each pair by itself, and shows the hosts with most trouble and this one", () => {
  const states = ["up", "slow", "down", "oneWay", "suspect", "unknown"] as const;
  const size = fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 2, max: 8 }) }, fc.constant(MAX_SHOWN + 4));
  const table = size.chain((count) =>
    fc.record({
      count: fc.constant(count),
      silent: fc.uniqueArray(fc.integer({ min: 0, max: count - 1 }), { maxLength: 3 }),
      bad: fc.array(fc.tuple(fc.nat(count - 1), fc.nat(count - 1), fc.constantFrom(...states)), { maxLength: 30 }),
    }),
  );
  const property = fc.property(table, ({ count, silent, bad }) => {
    const all = [...Array(count).keys()];
    const state = (from: number, to: number) => bad.findLast(([a, b]) => a === from && b === to)?.[2] ?? "up";
    const sightings = new Sightings();
    for (const from of all.filter((at) => !silent.includes(at))) {
      const peers = all.filter((to) => to !== from).map((to) => ({ key: keyOf(to), state: state(from, to) }));
      sightings.put({ lease: keyOf(from), peers, morePeers: 0 }, `h${from}`, AT_MS);
    }
    const { matrix, rows } = sightings.matrix(hostsOf(count), keyOf(count - 1));
    const told = all.filter((at) => !silent.includes(at));
    const ways = told.flatMap((from) => all.filter((to) => to !== from).map((to) => [from, to] as const));
    const troubled = ways.filter(([from, to]) => ["down", "oneWay", "suspect"].includes(state(from, to)));
    expect(matrix.troubled).toBe(troubled.length);
    const nobodys = all.filter((to) => {
      const views = ways.filter((way) => way[1] === to);
      return views.length > 1 && views.every(([from]) => state(from, to) === "down");
    });
    expect(matrix.unreached.map(({ key }) => key)).toEqual(nobodys.map(keyOf));
    const others = troubled.filter(([, to]) => !nobodys.includes(to));
    expect(matrix.pairs.map(({ from, to }) => `${from} ${to}`).sort()).toEqual(
      others.map(([from, to]) => `${keyOf(from)} ${keyOf(to)}`).sort(),
    );
    // One way first.
    const oneWay = matrix.pairs.map((pair) => isOneWay(pair.state, pair.back));
    expect(oneWay).toEqual(oneWay.toSorted((a, b) => Number(b) - Number(a)));
    expect([...rows.keys()]).toEqual(matrix.shown);
    expect(matrix.shown).toHaveLength(Math.min(count, MAX_SHOWN));
    expect(matrix.shown).toContain(keyOf(count - 1));
    const seen = [...rows.values()].flatMap((row) => Object.keys(row.seen));
    expect(seen.filter((key) => !rows.has(key))).toEqual([]);
  });
  fc.assert(property, propertyRuns(1_000));
});

test("no host blanks what others told by telling of peers that are not there, or at length", () => {
  const sightings = new Sightings();
  const keys = new Set(hostsOf(3).map(({ key }) => key));
  sightings.keep(keys);
  const up = (...to: readonly number[]) => to.map((at) => ({ key: keyOf(at), state: "up" as const }));
  sightings.put({ lease: keyOf(0), peers: up(1, 2), morePeers: 0 }, "h0", AT_MS);
  const long = { key: keyOf(0), state: "down" as const, reason: "r".repeat(100_000), since: "s".repeat(100_000) };
  const invented = Array.from({ length: 5_000 }, (_, at) => ({ key: `192.0.2.${at}-32`, state: "up" as const }));
  // It knows of one that this host will know in a moment.
  sightings.put({ lease: keyOf(1), peers: [...up(2, 3), long, ...invented], morePeers: 0 }, "h1", AT_MS);
  sightings.keep(keys);
  const { matrix, rows } = sightings.matrix(hostsOf(3), keyOf(0));
  expect(matrix).toMatchObject({ told: 2, troubled: 1, pairs: [{ from: keyOf(1), to: keyOf(0), back: "up" }] });
  expect(JSON.stringify([...rows]).length).toBeLessThan(4_000);
  expect(sightings.matrix(hostsOf(4), keyOf(0)).rows.get(keyOf(1))?.seen[keyOf(3)]).toBeUndefined();
  expect(sightings.matrix(hostsOf(4), keyOf(0)).rows.get(keyOf(0))?.seen[keyOf(3)]?.state).toBe("absent");
});

test("a host tells as many of its peers as fit, the worst first", () => {
  const peers = Array.from({ length: 3_000 }, (_, at): Peer => {
    const state = at === 2_999 ? "down" : "up";
    return { key: `10.${at >> 8}.${at & 255}.0-24`, revision: "1", state, reason: "r".repeat(9_000), mtuBytes: 1450 };
  });
  const view = shortView({ name: "n" }, peers, 50_000);
  expect(Buffer.byteLength(JSON.stringify(view))).toBeLessThan(51_000);
  expect(view.peers[0]).toMatchObject({ state: "down", reason: "r".repeat(200) });
  expect(view.peers.length + view.morePeers).toBe(3_000);
  expect(view.peers.length).toBeGreaterThan(500);
});
