// What is believed of an errno that has to be asked for after the call.
import fc from "fast-check";
import { expect, test } from "vitest";
import { settleBy } from "./call-result.ts";
import { errnos } from "./errno.ts";

const { EAGAIN, EBADF, ENOENT, ENOMEM } = errnos;

/** Makes a call of which `results` are known in turn, each with the errno that is read after it. */
function settle(results: readonly (readonly [result: number, errno: number])[], expected: readonly number[]) {
  let calls = 0;
  const call = (): number => results[Math.min(calls++, results.length - 1)]?.[0] ?? 0;
  const settled = settleBy(() => results[Math.min(calls, results.length) - 1]?.[1] ?? 0);
  return { result: settled(call(), expected, call), calls };
}

test.each<[string, [number, number][], { result: number; calls: number }]>([
  ["success", [[7, ENOENT]], { result: 7, calls: 1 }],
  ["success with nothing", [[0, ENOENT]], { result: 0, calls: 1 }],
  ["an expected errno", [[-1, EAGAIN]], { result: -EAGAIN, calls: 1 }],
  ["another one that stays", [[-1, EBADF]], { result: -EBADF, calls: 2 }],
  [
    "an empty socket that gave the errno of something else",
    [
      [-1, ENOENT],
      [-1, EAGAIN],
    ],
    { result: -EAGAIN, calls: 2 },
  ],
  [
    "no errno at all",
    [
      [-1, 0],
      [-1, EBADF],
      [-1, EBADF],
    ],
    { result: -EBADF, calls: 3 },
  ],
  [
    "what came in between",
    [
      [-1, ENOENT],
      [40, 0],
    ],
    { result: 40, calls: 2 },
  ],
  [
    "different ones",
    [
      [-1, ENOENT],
      [-1, ENOMEM],
      [-1, EBADF],
      [-1, EBADF],
    ],
    { result: -EBADF, calls: 4 },
  ],
])("%s", (_, results, outcome) => {
  expect(settle(results, [EAGAIN])).toEqual(outcome);
});

test("an errno that is not the call's is never believed while it comes no two times in a row", () => {
  const strange = fc.uniqueArray(fc.integer({ min: 200, max: 400 }), { maxLength: 6 });
  fc.assert(
    fc.property(strange, fc.constantFrom(EAGAIN, EBADF), (noise, truth) => {
      const results = [...noise, truth].map((errno): [number, number] => [-1, errno]);
      expect(settle(results, [EAGAIN]).result).toBe(-truth);
    }),
  );
});

test("an errno that never settles ends all the same", () => {
  const results = Array.from({ length: 50 }, (_, errno): [number, number] => [-1, 200 + errno]);
  expect(settle(results, [EAGAIN]).calls).toBeLessThan(10);
});
