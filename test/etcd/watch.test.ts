// The contract of watching leases, on a real store: no event is lost, memory is bounded.
import { afterEach, beforeEach, expect, test } from "vitest";
import { Follower, foreignLease } from "./fixture.ts";
import { type StoreWorld, startStoreWorld } from "./store-world.ts";

let stack: AsyncDisposableStack;
let world: StoreWorld;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  world = stack.use(await startStoreWorld());
});

afterEach(async () => {
  await stack[Symbol.asyncDispose]();
});

async function follow(): Promise<Follower> {
  const store = stack.use(await world.open());
  const follower = stack.use(new Follower(store));
  await follower.until("contact after the snapshot", () => follower.changes.some(({ type }) => type === "contact"));
  return follower;
}

/** `count` leases of others, 100 at a time. */
async function writeForeignLeases(store: StoreWorld, count: number, first = 0): Promise<void> {
  for (let start = first; start < first + count; start += 100) {
    const indexes = Array.from({ length: Math.min(100, first + count - start) }, (_, offset) => start + offset);
    await store.write(Object.fromEntries(indexes.map(foreignLease).map(({ name, value }) => [name, value])));
  }
}

test("first a snapshot, then what happens", async () => {
  await writeForeignLeases(world, 3);
  const follower = await follow();
  expect(follower.changes[0]).toMatchObject({ type: "snapshot", unreadable: [] });
  expect([...follower.leases.keys()]).toEqual([0, 1, 2].map((index) => foreignLease(index).name));
  await world.write({ [foreignLease(3).name]: foreignLease(3).value });
  await world.remove(foreignLease(0).name);
  await world.write({ [foreignLease(1).name]: foreignLease(1).value.replace("02:00", "06:00") });
  await follower.until("all three", () =>
    JSON.stringify([...follower.leases.values()], replaceBigInt).includes("06:00"),
  );
  expect([...follower.leases.keys()].sort()).toEqual([1, 2, 3].map((index) => foreignLease(index).name));
  expect(follower.snapshots).toBe(1);
});

test("10,000 events in a burst arrive as few changes, all of them", async () => {
  const follower = await follow();
  await writeForeignLeases(world, 10_000);
  await follower.until("10,000 leases", () => follower.leases.size === 10_000);
  expect(follower.snapshots).toBe(1);
  expect(follower.changes.length).toBeLessThan(300);
});

test("a reader who is away meanwhile finds 10,000 events merged into one change", async () => {
  const store = stack.use(await world.open());
  const abort = new AbortController();
  const watch = store.watch(abort.signal)[Symbol.asyncIterator]();
  expect((await watch.next()).value).toMatchObject({ type: "snapshot" });
  for (let round = 0; round < 10; round++) await writeForeignLeases(world, 1_000);
  await writeForeignLeases(world, 1, 5_000);
  const control = stack.use(new Follower(store));
  await control.until("that all was written", () => control.leases.size === 1_001);
  let [events, changes] = [0, 0];
  const seen = new Set<string>();
  while (!seen.has(foreignLease(5_000).name)) {
    const { value } = await watch.next();
    if (value?.type !== "changes") continue;
    changes++;
    events += value.changes.length;
    for (const event of value.changes) seen.add(event.type === "put" ? event.lease.key : event.key);
  }
  expect(seen.size).toBe(1_001);
  expect(events).toBeLessThan(3_000);
  expect(changes).toBeLessThan(10);
  abort.abort();
  expect((await watch.next()).done).toBe(true);
});

function replaceBigInt(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}
