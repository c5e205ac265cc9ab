import { afterEach, expect, test, vi } from "vitest";
import { newDatabase } from "../../../test/support/store-database.ts";
import { CommitQueue } from "./commit-queue.ts";
import { Compactor } from "./compactor.ts";
import { Quota } from "./quota.ts";

afterEach(() => void vi.useRealTimers());

test("the longest retention that can be asked for does not make the revision be noted down all the time", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  using database = newDatabase();
  const onFailure = vi.fn();
  const queue = new CommitQueue({
    quota: new Quota(1024 ** 3, () => undefined),
    onScarce: () => undefined,
    database,
    revision: 1n,
    compactRevision: -1n,
    publish: () => undefined,
    onFailure,
  });
  const noted = vi.spyOn(queue, "revision", "get");
  await using _compactor = new Compactor(queue, database, { retentionMs: 1_000_000 * 60_000, onFailure });
  await vi.advanceTimersByTimeAsync(59 * 60_000);
  expect(noted).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(noted).toHaveBeenCalledOnce();
  expect(onFailure).not.toHaveBeenCalled();
});
