import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { type MtuOutcome, PathMtu, type PathMtuFacts } from "./path-mtu.ts";

const facts: PathMtuFacts = { family: 4, underlayMtuBytes: 1_500, overlayMtuBytes: 1_450, hasUnderlay: true };

/** What lies between: how large a packet passes, whether routers say so, whether fragments do, and loss. */
interface Way {
  readonly mtuBytes: number;
  readonly says: boolean;
  readonly passesFragments: boolean;
  readonly claims?: number;
}

class Course {
  readonly mtu: PathMtu;
  nowMs = 0;
  probes = 0;

  constructor(given: PathMtuFacts = facts) {
    this.mtu = new PathMtu(given, 0);
    this.nowMs = 10_000;
  }

  /** Once a second, until there is nothing to find out. */
  look(way: Way): void {
    for (let count = 0; count < 200; count++) {
      const next = this.mtu.next(this.nowMs);
      this.nowMs += 1_000;
      if (next === undefined) return;
      this.probes++;
      this.mtu.take(next.leg, next.packetBytes, outcomeOf(way, next.leg, next.packetBytes), this.nowMs);
    }
    throw new Error("it does not end");
  }

  wait(ms: number): void {
    this.nowMs += ms;
  }
}

function outcomeOf(way: Way, leg: "underlay" | "main", bytes: number): MtuOutcome {
  const outer = leg === "underlay" ? bytes : bytes + 50;
  if (outer <= way.mtuBytes) return "answered";
  if (leg === "underlay") return way.says ? { tooBigFor: way.claims ?? way.mtuBytes } : "lost";
  return way.passesFragments ? "answered" : "lost";
}

test("a path of full size costs two probes in two minutes", () => {
  const course = new Course();
  course.look({ mtuBytes: 1_500, says: true, passesFragments: true });
  expect(course.mtu.found).toMatchObject({ underlayBytes: 1_500, overlayBytes: 1_450, wholeBytes: 1_450 });
  expect([course.probes, course.mtu.isBroken, course.mtu.isReduced]).toEqual([2, false, false]);
  course.wait(100_000);
  expect(course.mtu.next(course.nowMs)).toBeUndefined();
});

test("a smaller one that routers tell of: exactly, and whether cut packets arrive", () => {
  const cut = new Course();
  cut.look({ mtuBytes: 1_333, says: true, passesFragments: true });
  expect(cut.mtu.found).toMatchObject({ underlayBytes: 1_333, overlayBytes: 1_450, wholeBytes: 1_283 });
  expect([cut.mtu.isBroken, cut.mtu.isReduced]).toEqual([false, true]);
  const lost = new Course();
  lost.look({ mtuBytes: 1_333, says: true, passesFragments: false });
  expect(lost.mtu.isBroken).toBe(true);
  expect(lost.mtu.found?.wholeBytes).toBeGreaterThan(1_275);
});

test("it is lowered at once, and raised when it was found twice", () => {
  const course = new Course();
  const [whole, narrow] = [1_500, 1_400].map((mtuBytes) => ({ mtuBytes, says: true, passesFragments: false }));
  if (whole === undefined || narrow === undefined) throw new Error("no ways");
  course.look(whole);
  course.wait(121_000);
  course.look(narrow);
  expect(course.mtu.found?.underlayBytes).toBe(1_400);
  course.wait(61_000);
  course.look(whole);
  expect(course.mtu.found?.underlayBytes).toBe(1_400);
  course.wait(61_000);
  course.look(whole);
  expect(course.mtu.found).toMatchObject({ underlayBytes: 1_500, overlayBytes: 1_450 });
});

test("whatever the path and whatever routers claim, what is found passes, and hardly more does", () => {
  const ways = fc.record({
    mtuBytes: fc.integer({ min: 626, max: 1_500 }),
    says: fc.boolean(),
    passesFragments: fc.boolean(),
    claims: fc.option(fc.integer({ min: 0, max: 65_535 }), { nil: undefined }),
  });
  fc.assert(
    fc.property(ways, ({ claims, ...way }) => {
      const course = new Course();
      course.look(claims === undefined ? way : { ...way, claims });
      const { underlayBytes = 0, overlayBytes = 0, wholeBytes = 0 } = course.mtu.found ?? {};
      expect(underlayBytes).toBeLessThanOrEqual(way.mtuBytes);
      expect(way.mtuBytes - underlayBytes).toBeLessThanOrEqual(8);
      expect(wholeBytes + 50).toBeLessThanOrEqual(way.mtuBytes);
      if (way.passesFragments) expect(overlayBytes).toBe(1_450);
      else expect(way.mtuBytes - 50 - overlayBytes).toBeLessThanOrEqual(8);
      expect(course.probes).toBeLessThan(90);
    }),
    propertyRuns(20_000),
  );
});

test("an outage, however long and whenever it comes, is not taken for a small path", () => {
  for (let start = 0; start < 12; start++) {
    for (let length = 1; length < 40; length++) {
      const facts = { family: 4, underlayMtuBytes: 1_500, overlayMtuBytes: 1_450, hasUnderlay: true } as const;
      const mtu = new PathMtu(facts, 0);
      for (let second = 0; second < 200; second++) {
        const asked = mtu.next(second * 1_000);
        if (asked === undefined) continue;
        const isOut = second >= start && second < start + length;
        mtu.take(asked.leg, asked.packetBytes, isOut ? "lost" : "answered", second * 1_000);
        if (mtu.isReduced) expect.fail(`reduced by an outage from second ${start} for ${length} s`);
      }
      expect(mtu.found?.wholeBytes).toBe(1_450);
    }
  }
});
