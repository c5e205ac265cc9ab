// charon, the real one, started as slowly as on a busy host: one runs in the end, whoever asks for it and however often.
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { CHARON_SOCKET, charonPid, connectCharon, stopOwnCharon } from "../../src/ipsec/charon-process.ts";
import { TemporaryDirectory } from "../support/flannelctl.ts";

let directory: TemporaryDirectory;
const needs = { isUserspace: true };
const connect = (signal = new AbortController().signal) => connectCharon(needs, () => undefined, signal);
/** How many were started. */
const starts = () => {
  const log = directory.file("starts");
  return existsSync(log) ? readFileSync(log, "utf8").trim().split("\n").length : 0;
};

beforeEach(() => {
  directory = new TemporaryDirectory();
  const program = directory.file("charon");
  const script = `echo $$ >>'${directory.file("starts")}'; until [ -e '${directory.file("go")}' ]; do sleep 0.02; done`;
  writeFileSync(program, `#!/bin/sh\n${script}; exec /usr/lib/ipsec/charon\n`);
  chmodSync(program, 0o755);
  vi.stubEnv("PATH", `${join(program, "..")}:${process.env["PATH"]}`);
});

afterEach(async () => {
  writeFileSync(directory.file("go"), "");
  await stopOwnCharon();
  vi.unstubAllEnvs();
  directory[Symbol.dispose]();
});

test("two networks that need it at once, and an agent that comes after one that ended, share one", async () => {
  const ended = new AbortController();
  const first = connect(ended.signal);
  await until(() => starts() > 0, { what: "the first start" });
  ended.abort();
  await expect(first).rejects.toThrow();
  const both = [connect(), connect()];
  await new Promise((resolve) => setImmediate(resolve));
  writeFileSync(directory.file("go"), "");
  for (const { client } of await Promise.all(both)) await client[Symbol.asyncDispose]();
  expect(starts()).toBe(1);
  const { client, isStarted } = await connect();
  await client[Symbol.asyncDispose]();
  expect(isStarted).toBe(false);
});

test("one that has neither pid file nor socket any more is not given a rival, but ended by a clean-up", async () => {
  writeFileSync(directory.file("go"), "");
  const { client } = await connect();
  await client[Symbol.asyncDispose]();
  const pid = charonPid() ?? 0;
  rmSync("/run/charon.pid");
  rmSync(CHARON_SOCKET);
  const ended = new AbortController();
  const waiting = connect(ended.signal);
  // Comes after a program that it would start.
  await box.run(["sh", "-c", "true"]);
  ended.abort();
  await expect(waiting).rejects.toThrow();
  expect(starts()).toBe(1);
  await stopOwnCharon();
  expect(existsSync(`/proc/${pid}`)).toBe(false);
});
