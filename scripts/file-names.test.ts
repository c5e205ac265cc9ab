// Files that comments and docs name exist.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..");
const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
  cwd: root,
  encoding: "utf8",
})
  .split("\n")
  .filter((file) => file !== "");
/** Of other projects, or of what is made on a host. */
const foreign = new Set(["main.go", "config.md"]);

const comment = /^\s*(?:\/\/|\/?\*\*?)(.*)$|\s\/\/ (.*)$/;
const name = /(?<![\w./@-])((?:[\w.-]+\/)*[\w.-]+\.(?:ts|md|mjs))(?![\w*])/g;

function namesIn(text: string): string[] {
  return [...text.matchAll(name)].map(([, found = ""]) => found);
}

function isThere(named: string): boolean {
  // `x-backend.ts`, `…-runtime.ts`: any file of that kind.
  if (/^(?:x[-.]|[-.])/.test(named)) return true;
  return foreign.has(named) || files.some((file) => file === named || file.endsWith(`/${named}`));
}

test("files named in comments exist", () => {
  const lost: string[] = [];
  for (const file of files.filter((each) => /^(src|lab|test|scripts|bench|packaging)\/.*\.ts$/.test(each))) {
    readFileSync(join(root, file), "utf8")
      .split("\n")
      .forEach((line, index) => {
        const [, whole, end] = comment.exec(line) ?? [];
        for (const named of namesIn(whole ?? end ?? ""))
          if (!isThere(named)) lost.push(`${file}:${index + 1} ${named}`);
      });
  }
  expect(lost).toEqual([]);
});

test("files named in docs exist", () => {
  const lost: string[] = [];
  for (const file of files.filter((each) => /^[^/]+\.md$|^docs\/.*\.md$/.test(each))) {
    const text = readFileSync(join(root, file), "utf8");
    const named = [...text.matchAll(/`([^`\n]+)`/g)].flatMap(([, code = ""]) =>
      code.includes(" ") ? [] : namesIn(code),
    );
    for (const each of named) if (!isThere(each)) lost.push(`${file} ${each}`);
  }
  expect(lost).toEqual([]);
});
