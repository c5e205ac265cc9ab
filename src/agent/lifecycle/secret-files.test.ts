// Files with secrets that the configuration names: what is used, what is refused, and that a change is noticed.
import { chmodSync, chownSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { until } from "../../../lab/wait.ts";
import { silentLogger } from "../../telemetry/logger.ts";
import { SecretFiles } from "./secret-files.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "flannel-secret-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const faultOf = (text: string) => (text.startsWith("good") ? undefined : "it is not good");

function fileOf(name: string, text: string, mode = 0o600): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

function problemOf(path: string): string | undefined {
  using files = new SecretFiles(silentLogger, () => undefined);
  const found = files.of([{ path, faultOf }]).get(path);
  const problem = found !== undefined && "problem" in found ? found.problem : undefined;
  expect(files.findings.map(({ name }) => name)).toEqual(problem === undefined ? [] : ["secret-file"]);
  expect(JSON.stringify(files.findings)).not.toContain("content-of-the-file");
  return problem;
}

describe("SecretFiles", () => {
  it("uses a file that is for its owner alone, also behind a link", () => {
    const path = fileOf("plain", "good");
    const link = join(directory, "link");
    symlinkSync(path, link);
    expect([problemOf(path), problemOf(link), problemOf(fileOf("owner-reads", "good", 0o400))]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it("says why it refuses another one, without its content", () => {
    expect(problemOf(join(directory, "missing"))).toMatch(/ENOENT|no such file/i);
    expect(problemOf(directory)).toBe("the path is not a regular file");
    expect(problemOf(fileOf("group", "good content-of-the-file", 0o640))).toMatch(/^mode 0640 .* set it to 0600$/);
    expect(problemOf(fileOf("others", "good content-of-the-file", 0o604))).toMatch(/^mode 0604/);
    expect(problemOf(fileOf("wrong", "content-of-the-file"))).toBe("it is not good");
    expect(problemOf(fileOf("large", `good${"x".repeat(5_000)}`))).toMatch(/too large/);
    const strange = fileOf("strange", "good");
    chownSync(strange, 12_345, 0);
    expect(problemOf(strange)).toMatch(/^it belongs to user 12345/);
  });

  it("notices a change, and tells nothing of files that are not asked for any more", async () => {
    const changed = vi.fn();
    using files = new SecretFiles(silentLogger, changed);
    const path = fileOf("followed", "good 1");
    expect(files.of([{ path, faultOf }]).get(path)).toEqual({ text: "good 1" });
    fileOf("followed", "good 2");
    await until(async () => changed.mock.calls.length === 1, { what: "the change to be noticed" });
    expect(files.of([{ path, faultOf }]).get(path)).toEqual({ text: "good 2" });
    chmodSync(path, 0o644);
    await until(async () => files.findings.length === 1, { what: "the mode to be noticed" });
    expect(files.of([]).size).toBe(0);
    expect(files.findings).toEqual([]);
  });
});
