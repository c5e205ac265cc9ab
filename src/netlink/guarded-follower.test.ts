import { expect, test } from "vitest";
import { type Logger, silentLogger } from "../telemetry/logger.ts";
import { GuardedFollower } from "./guarded-follower.ts";

function openFollower(onOverflow: (time: number) => void = () => undefined) {
  const heard: string[] = [];
  let overflows = 0;
  const logged: unknown[] = [];
  const logger: Logger = { ...silentLogger, error: (...words) => void logged.push(words) };
  const guard = new GuardedFollower({
    logger,
    onOverflow: () => {
      heard.push("everything");
      onOverflow(++overflows);
    },
  });
  const hear = (news: string) =>
    guard.deliver(() => {
      if (news === "odd") throw new Error("cannot read it");
      heard.push(news);
    });
  return { guard, hear, heard, logged };
}

test("what could not be taken in is read again at once, and what comes then is heard as before", () => {
  const { hear, heard, logged } = openFollower();
  for (const news of ["a", "odd", "b", "odd"]) hear(news);
  expect(heard).toEqual(["a", "everything", "b", "everything"]);
  expect(logged).toHaveLength(1);
});

test("a reading that failed comes before what is heard next", () => {
  const { hear, heard, logged } = openFollower((time) => {
    if (time === 1) throw new Error("not now");
  });
  for (const news of ["odd", "a", "b"]) hear(news);
  expect(heard).toEqual(["everything", "everything", "b"]);
  expect(logged).toHaveLength(1);
});

test("who leaves while it fails hears nothing more", () => {
  const { guard, hear, heard } = openFollower();
  guard.deliver(() => {
    guard.close();
    throw new Error("gone");
  });
  hear("a");
  guard.overflow();
  expect(heard).toEqual([]);
});
