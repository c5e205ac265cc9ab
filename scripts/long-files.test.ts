import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { longFiles } from "./long-files.ts";

test("sources beyond the limit are named, the longest first; tests are not", () => {
  const root = mkdtempSync(join(tmpdir(), "long-files-"));
  try {
    execFileSync("git", ["init", "-q"], { cwd: root });
    mkdirSync(join(root, "src"));
    const write = (name: string, lines: number) => writeFileSync(join(root, "src", name), "x\n".repeat(lines));
    write("a.ts", 11);
    write("b.ts", 12);
    write("short.ts", 10);
    write("long.test.ts", 99);
    expect(longFiles(root, 10)).toEqual([
      { file: "src/b.ts", lines: 12 },
      { file: "src/a.ts", lines: 11 },
    ]);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
