// The lock with real files: flock counts open files, so one process can stand for two.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FileLock } from "./file-lock.ts";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "flannel-lock-"));
  path = join(directory, "subnet.env.lock");
});
afterEach(() => rmSync(directory, { recursive: true }));

test("a second holder is refused and told the first one's pid; after release it is let in", () => {
  const first = FileLock.acquire(path);
  expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
  expect(() => FileLock.acquire(path)).toThrow(
    expect.objectContaining({ code: "AGENT_RUNNING", details: { path, pid: process.pid } }),
  );
  expect(() => FileLock.acquire(path)).toThrow(`(pid ${process.pid})`);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  using second = FileLock.acquire(path);
  expect(second.path).toBe(path);
});

test("the lock of a process that was killed is free, whatever its file says", async () => {
  const source = `import { FileLock } from ${JSON.stringify(join(import.meta.dirname, "file-lock.ts"))};
    FileLock.acquire(${JSON.stringify(path)}); console.log("held"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  expect(() => FileLock.acquire(path)).toThrow(`(pid ${child.pid})`);
  child.kill("SIGKILL");
  await once(child, "exit");
  using _lock = FileLock.acquire(path);
  expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
});

test("rubbish in the file is not taken for a pid", () => {
  using _lock = FileLock.acquire(path);
  writeFileSync(path, "not a pid\n");
  expect(() => FileLock.acquire(path)).toThrow(`${path} is locked by another agent; stop that agent first`);
});

test("a lock file that was removed excludes again once it is recreated", () => {
  using _first = FileLock.acquire(path);
  rmSync(path);
  using _second = FileLock.acquire(path);
  expect(() => FileLock.acquire(path)).toThrow(`(pid ${process.pid})`);
});

test("a missing directory is named", () => {
  expect(() => FileLock.acquire(join(directory, "absent", "lock"))).toThrow(
    expect.objectContaining({ code: "FILE_FAILED" }),
  );
});

test("a lock file that was removed or replaced comes back, unless another has the lock", () => {
  using lock = FileLock.acquire(path);
  expect(lock.renew()).toBe(false);
  for (const replacement of [undefined, ""]) {
    rmSync(path);
    if (replacement !== undefined) writeFileSync(path, replacement);
    expect(lock.renew()).toBe(true);
    expect(lock.renew()).toBe(false);
    expect(() => FileLock.acquire(path)).toThrow(`(pid ${process.pid})`);
  }
  rmSync(path);
  {
    using _other = FileLock.acquire(path);
    expect(() => lock.renew()).toThrow(expect.objectContaining({ code: "AGENT_RUNNING" }));
  }
  expect(lock.renew()).toBe(true);
});

test("what another put in the place of the lock file stays at the end", () => {
  const lock = FileLock.acquire(path);
  rmSync(path);
  using _other = FileLock.acquire(path);
  lock.removeAndFree();
  expect(() => FileLock.acquire(path)).toThrow(expect.objectContaining({ code: "AGENT_RUNNING" }));
});
