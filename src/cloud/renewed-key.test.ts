// A key that ends is read again in time, once for all who ask, and stays in force while nobody hands out another one.
import { beforeEach, expect, test } from "vitest";
import { type EndingKey, RenewedKey } from "./renewed-key.ts";

const LIFE_MS = 3_600_000;
const { signal } = new AbortController();
let nowMs: number;
let reads: number;
let failure: Error | undefined;
let keys: RenewedKey<{ readonly name: string; readonly endsAtMs: number }>;
const name = async () => (await keys.current(signal)).name;

beforeEach(() => {
  nowMs = 1_000_000_000;
  reads = 0;
  failure = undefined;
  keys = new RenewedKey(
    async () => {
      await Promise.resolve();
      reads++;
      if (failure !== undefined) throw failure;
      return { name: `key ${reads}`, endsAtMs: nowMs + LIFE_MS };
    },
    () => nowMs,
  );
});

test("is read once for all who ask at once, and not again while it lasts", async () => {
  expect(await Promise.all([name(), name(), name()])).toEqual(["key 1", "key 1", "key 1"]);
  nowMs += LIFE_MS - 301_000;
  expect(await name()).toBe("key 1");
  expect(reads).toBe(1);
});

test("is read again five minutes before it ends, once for all who ask at once", async () => {
  await name();
  nowMs += LIFE_MS - 299_000;
  expect(await Promise.all([name(), name()])).toEqual(["key 2", "key 2"]);
  expect(reads).toBe(2);
});

test("stays in force until it ends while nobody hands out another one, who is asked now and then", async () => {
  await name();
  failure = new Error("away");
  nowMs += LIFE_MS - 299_000;
  expect(await Promise.all([name(), name()])).toEqual(["key 1", "key 1"]);
  nowMs += 9_000;
  expect(await name()).toBe("key 1");
  expect(reads).toBe(2);
  nowMs += 2_000;
  expect(await name()).toBe("key 1");
  expect(reads).toBe(3);
  nowMs += 300_000;
  await expect(name()).rejects.toThrow("away");
  await expect(name()).rejects.toThrow("away");
  expect(reads).toBe(5);
  failure = undefined;
  expect(await name()).toBe("key 6");
});

test("one that was handed out after its end, as by a clock that is wrong, is used and asked for again", async () => {
  const old = new RenewedKey(
    () => Promise.resolve({ name: `old ${++reads}`, endsAtMs: nowMs - 1 }),
    () => nowMs,
  );
  expect([(await old.current(signal)).name, (await old.current(signal)).name]).toEqual(["old 1", "old 2"]);
});

test("one that was rejected is not used again, also when no other one can be read", async () => {
  await name();
  keys.reject();
  failure = new Error("away");
  await expect(name()).rejects.toThrow("away");
  failure = undefined;
  expect(await name()).toBe("key 3");
});

test("who gives up does not take the reading away from others; the end of all does", async () => {
  const { promise, resolve } = Promise.withResolvers<EndingKey & { readonly name: string }>();
  let given: AbortSignal | undefined;
  const slow = new RenewedKey<EndingKey & { readonly name: string }>((readSignal) => {
    given = readSignal;
    return promise;
  });
  const impatient = new AbortController();
  const [first, second] = [slow.current(impatient.signal), slow.current(signal)];
  impatient.abort();
  await expect(first).rejects.toMatchObject({ code: "CANCELLED" });
  expect(given?.aborted).toBe(false);
  resolve({ name: "slow" });
  expect(await second).toEqual({ name: "slow" });
  slow[Symbol.dispose]();
  expect(given?.aborted).toBe(true);
});

test("is given up when nothing comes, also by a library that takes no signal, and read again then", async () => {
  let isSilent = true;
  const silent = new Promise<never>(() => undefined);
  const late = new RenewedKey(
    () => (isSilent ? silent : Promise.resolve({ endsAtMs: 5 })),
    () => 0,
    20,
  );
  await expect(late.current(signal)).rejects.toMatchObject({ code: "CLOUD_UNAVAILABLE", retryable: true });
  isSilent = false;
  expect((await late.current(signal)).endsAtMs).toBe(5);
});

test("asks nobody for who has already given up", async () => {
  await expect(keys.current(AbortSignal.abort())).rejects.toMatchObject({ code: "CANCELLED" });
  expect(reads).toBe(0);
});
