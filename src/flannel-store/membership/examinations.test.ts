import { expect, it } from "vitest";
import { Examinations } from "./examinations.ts";

const host = { name: "h2", keyPin: "pin" };
const bytes = (text: string) => Buffer.from(text);

it("hands the report of a host to all who asked meanwhile, and examines again only after a while", async () => {
  let nowMs = 0;
  const examinations = new Examinations(() => nowMs);
  const next = examinations.next(host);
  const [first, second] = [examinations.examine(host), examinations.examine(host)];
  examinations.finish(host, await next, bytes("one"));
  expect([await first, await second].map(String)).toEqual(["one", "one"]);
  nowMs = 9_999;
  expect(String(await examinations.examine(host))).toBe("one");
  nowMs = 10_000;
  const third = examinations.examine(host);
  examinations.finish(host, await examinations.next(host), bytes("two"));
  expect(String(await third)).toBe("two");
});

it("takes no report that nobody asked for, of another host, or too large", async () => {
  const examinations = new Examinations();
  expect(() => examinations.finish(host, "x", bytes("no"))).toThrow("nobody waits");
  const report = examinations.examine(host);
  const id = await examinations.next(host);
  expect(() => examinations.finish({ name: "h3", keyPin: "other" }, id, bytes("no"))).toThrow("nobody waits");
  expect(() => examinations.finish(host, id, new Uint8Array(600_000))).toThrow("at most");
  examinations.finish(host, id, bytes("yes"));
  expect(String(await report)).toBe("yes");
});

it("says so when the host does not answer", async () => {
  const examinations = new Examinations(() => 0, 1);
  await expect(examinations.examine(host)).rejects.toThrow("host h2 does not answer");
});

it("ends an earlier wait of the same host, and forgets it", async () => {
  const examinations = new Examinations();
  const earlier = examinations.next(host);
  const now = examinations.next(host);
  expect(await earlier).toBe("");
  const report = examinations.examine(host);
  examinations.finish(host, await now, bytes("there"));
  expect(String(await report)).toBe("there");
});

it("hands a question out again when the call that got it was dead", async () => {
  const examinations = new Examinations();
  const dead = examinations.next(host);
  const report = examinations.examine(host);
  const id = await dead;
  expect(await examinations.next(host)).toBe(id);
  examinations.finish(host, id, bytes("there"));
  expect(String(await report)).toBe("there");
});
