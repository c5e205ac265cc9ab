// What the firewalls of a host share: one run of a listing for all who ask before it starts, and turns for those that write.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { RuleHost } from "./rule-host.ts";

let directory: string;
let host: RuleHost;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "rule-host-"));
  host = new RuleHost();
});

afterEach(() => {
  host[Symbol.dispose]();
  rmSync(directory, { recursive: true });
});

/** Prints how many runs there were, this one included. */
const count = (file: string) => host.list("/bin/sh", ["-c", `echo x >>${file}; wc -l <${file}`]);
const printed = async (results: readonly ReturnType<typeof count>[]) =>
  (await Promise.all(results)).map(({ stdout }) => Number(stdout));

it("a listing that runs serves nobody who asks later; the next one serves all of them", async () => {
  const file = join(directory, "runs");
  expect(await printed([count(file), count(file), count(file)])).toEqual([1, 2, 2]);
  const first = count(file);
  const second = count(file);
  const other = count(join(directory, "others"));
  expect(await printed([first])).toEqual([3]);
  // The second one has begun by now.
  const third = count(file);
  expect(await printed([second, third, other])).toEqual([4, 5, 1]);
  expect(await printed([count(file)])).toEqual([6]);
});

it("a listing that fails fails for those it serves, and for nobody else", async () => {
  const missing = () => host.list(join(directory, "none"), []);
  const results = await Promise.allSettled([missing(), missing(), missing()]);
  expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
  await expect(missing()).rejects.toMatchObject({ code: "TOOL_MISSING" });
});

it("few write at once, one after the other in the order in which they asked, whatever fails", async () => {
  let running = 0;
  let most = 0;
  const begun: number[] = [];
  const task = async (index: number) => {
    begun.push(index);
    most = Math.max(most, ++running);
    await new Promise(setImmediate);
    running--;
    if (index % 3 === 0) throw new Error(`failure ${index}`);
    return index;
  };
  const indexes = Array.from({ length: 20 }, (_, index) => index);
  const results = await Promise.allSettled(indexes.map((index) => host.inTurn(() => task(index))));
  expect(results.map((result) => (result.status === "fulfilled" ? result.value : "failed"))).toEqual(
    indexes.map((index) => (index % 3 === 0 ? "failed" : index)),
  );
  expect(begun).toEqual(indexes);
  expect(most).toBe(4);
  expect(await host.inTurn(() => Promise.resolve("again"))).toBe("again");
});
