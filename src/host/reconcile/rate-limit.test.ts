import fc from "fast-check";
import { expect, test } from "vitest";
import { RateLimit } from "./rate-limit.ts";

test("no second has more than the limit, and nothing waits while there is room", () => {
  const steps = fc.array(fc.nat(400), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 5 }), (pauses, perSecond) => {
      const limit = new RateLimit(perSecond);
      const times: number[] = [];
      let nowMs = 0;
      for (const pause of pauses) {
        nowMs += pause;
        const at = limit.earliestMs(nowMs);
        const before = times.filter((time) => time > nowMs - 1_000).length;
        if (before < perSecond) expect(at).toBe(nowMs);
        limit.take(at);
        times.push(at);
      }
      for (const from of times) {
        expect(times.filter((time) => time >= from && time < from + 1_000).length).toBeLessThanOrEqual(perSecond);
      }
    }),
  );
});
