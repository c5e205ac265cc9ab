// What the prober is made of: payload, turns, quality.
import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { LossMeter } from "./loss-meter.ts";
import { PathQuality } from "./path-quality.ts";
import { type ProbePayload, readProbe, writeProbe } from "./probe-payload.ts";
import { Rotation } from "./rotation.ts";

test("a payload is read as it was written, and no other bytes are read as one by chance", () => {
  const payloads: fc.Arbitrary<ProbePayload> = fc.record({
    token: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    kind: fc.constantFrom("underlay", "tunnel", "bridge"),
    hasBridge: fc.boolean(),
    networkTag: fc.nat(0xffff_ffff),
  });
  fc.assert(
    fc.property(payloads, fc.option(fc.nat(65_534), { nil: undefined }), fc.uint8Array(), (payload, age, bytes) => {
      const written = { ...payload, ...(age !== undefined && { heardAgeMs: age * 100 }) };
      expect(readProbe(writeProbe(written))).toEqual(written);
      expect(readProbe(bytes)).toBeUndefined();
    }),
    propertyRuns(10_000),
  );
});

test("everybody has a turn in each round, whoever comes and goes", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uniqueArray(fc.nat(30), { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 6 }),
      fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
      (crowds, chances) => {
        const rotation = new Rotation<number>(() => chances.next().value ?? 0);
        let before = new Set<number>();
        for (const crowd of crowds) {
          const after = new Set(crowd);
          rotation.replace(before, after);
          before = after;
          expect(rotation.size).toBe(after.size);
          const given: number[] = [];
          for (let turn = 0; turn < after.size * 4; turn++) given.push(...rotation.take(0.5, 4, () => "due"));
          expect(new Set(given)).toEqual(after);
        }
      },
    ),
    propertyRuns(2_000),
  );
});

test("who has to wait keeps the turn, who is skipped loses it, and what is given back comes first", () => {
  const rotation = new Rotation<string>(() => 0.999);
  rotation.replace(new Set(), new Set(["a", "b", "c"]));
  expect(rotation.take(1, 4, () => "wait")).toEqual([]);
  const [first = ""] = rotation.take(0, 4, () => "due");
  const all = rotation.take(2, 4, (one) => (one === first ? "skip" : "due"));
  rotation.giveBack(all);
  expect(rotation.take(0, 4, () => "due")).toEqual(all);
  expect(rotation.take(4, 4, () => "due")[0]).toBe(first);
});

test("quality: percentiles, losses, what comes late, and what is slow for this path", () => {
  const quality = new PathQuality();
  expect(quality.summary()).toEqual({ sent: 0, lost: 0 });
  for (let count = 0; count < 40; count++) quality.answered(100 + (count % 3));
  expect(quality.summary()).toMatchObject({ sent: 40, lost: 0, rttMs: { p50: 101, p99: 102 } });
  // Far away is not slow.
  expect(quality.isSlow).toBe(false);
  for (let count = 0; count < 9; count++) quality.answered(500);
  expect(quality.isSlow).toBe(true);
  for (let count = 0; count < 9; count++) quality.answered(101);
  expect(quality.isSlow).toBe(false);
  for (let count = 0; count < 64; count++) count % 5 === 0 ? quality.lost() : quality.answered(101);
  expect(quality.summary().lost).toBe(13);
  expect(quality.isSlow).toBe(true);
  for (let count = 0; count < 12; count++) quality.late(1_500);
  expect(quality.summary().lost).toBe(1);
  expect(quality.isSlow).toBe(false);
  // While nothing answers, all that is lost is reported; what was down does not make slow what is up.
  for (let count = 0; count < 100; count++) quality.lost();
  expect(quality.summary()).toMatchObject({ sent: 64, lost: 64 });
  quality.wasDown();
  quality.answered(101);
  expect([quality.summary().lost <= 1, quality.isSlow]).toEqual([true, false]);
});

test("losses at random are measured over the last thousands", () => {
  const meter = new LossMeter();
  expect(meter.ratio).toBe(0);
  for (let count = 0; count < 10_000; count++) meter.took(1, count % 50 === 0 ? 1 : 0);
  expect(meter.ratio).toBeCloseTo(1 / 51, 2);
  for (let count = 0; count < 40_000; count++) meter.took(1, 0);
  expect(meter.ratio).toBeLessThan(0.001);
});
