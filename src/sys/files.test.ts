import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { hasCode } from "../errors.ts";
import { ensureDirectory, writeFileAtomically } from "./files.ts";

let directory: string;
let path: string;
const umask = process.umask();

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "files-"));
  path = join(directory, "run", "flannel", "subnet.env");
});
afterEach(() => {
  process.umask(umask);
  rmSync(directory, { recursive: true });
});

function mode(file: string): string {
  return (statSync(file).mode & 0o777).toString(8);
}

describe("writeFileAtomically", () => {
  it("creates directories and the file, readable for all whatever the umask", async () => {
    process.umask(0o022);
    expect(await writeFileAtomically(path, "a\n")).toBe(true);
    expect(mode(join(directory, "run"))).toBe("755");
    process.umask(0o077);
    const second = join(directory, "run", "flannel", "second.env");
    await writeFileAtomically(second, "a\n");
    expect([readFileSync(second, "utf8"), mode(second)]).toEqual(["a\n", "644"]);
    expect(readdirSync(join(directory, "run", "flannel")).toSorted()).toEqual(["second.env", "subnet.env"]);
  });

  it("does not fail where another program removes the file meanwhile", async () => {
    for (let round = 0; round < 300; round++) {
      await writeFileAtomically(path, "a\n");
      const writing = writeFileAtomically(path, "a\n");
      for (let turns = round % 6; turns > 0; turns--) await new Promise(setImmediate);
      rmSync(path);
      await writing;
    }
  });

  it("keeps the mode of an existing file and replaces it in one step", async () => {
    await writeFileAtomically(path, "a\n");
    chmodSync(path, 0o600);
    const before = statSync(path).ino;
    await writeFileAtomically(path, "b\n");
    expect([readFileSync(path, "utf8"), mode(path)]).toEqual(["b\n", "600"]);
    expect(statSync(path).ino).not.toBe(before);
  });

  it("does not touch a file that has the content already", async () => {
    await writeFileAtomically(path, "a\n");
    const before = statSync(path);
    expect(await writeFileAtomically(path, "a\n")).toBe(false);
    expect(statSync(path).ino).toBe(before.ino);
    expect(statSync(path).mtimeMs).toBe(before.mtimeMs);
  });

  it("replaces a symbolic link, not what it points at", async () => {
    mkdirSync(join(directory, "run", "flannel"), { recursive: true });
    writeFileSync(join(directory, "other"), "untouched");
    symlinkSync(join(directory, "other"), path);
    await writeFileAtomically(path, "a\n");
    expect([readFileSync(join(directory, "other"), "utf8"), readFileSync(path, "utf8")]).toEqual(["untouched", "a\n"]);
  });

  it("fails with the reason and without leftovers when the target is a directory", async () => {
    mkdirSync(path, { recursive: true });
    const error: unknown = await writeFileAtomically(path, "a\n").catch((thrown: unknown) => thrown);
    expect(hasCode(error, "FILE_FAILED") && error.retryable).toBe(true);
    expect(readdirSync(join(directory, "run", "flannel"))).toEqual(["subnet.env"]);
  });
});

describe("ensureDirectory", () => {
  it("makes what is missing, and is content with what is there", () => {
    const path = join(directory, "a", "b");
    ensureDirectory(path, 0o700);
    ensureDirectory(path, 0o755);
    expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  it("ends where no directory can be made", () => {
    expect(() => ensureDirectory("/proc/nowhere/at/all", 0o755)).toThrow("ENOENT");
    writeFileSync(join(directory, "file"), "");
    expect(() => ensureDirectory(join(directory, "file", "below"), 0o755)).toThrow(/ENOTDIR|EEXIST/);
  });
});
