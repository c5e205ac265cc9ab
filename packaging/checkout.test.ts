// The version of packages, as git's tags and the state of the checkout say it.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { packageVersion } from "./checkout.ts";

let checkout: string;

beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), "checkout-"));
  writeFileSync(join(checkout, "package.json"), JSON.stringify({ version: "1.2.3" }));
});
afterEach(() => rmSync(checkout, { recursive: true }));

function git(...args: readonly string[]): string {
  const settings = ["user.name=t", "user.email=t@localhost", "commit.gpgsign=false", "tag.gpgsign=false"];
  const argv = ["-C", checkout, ...settings.flatMap((setting) => ["-c", setting]), ...args];
  return execFileSync("git", argv, { encoding: "utf8" }).trim();
}

function commit(): void {
  git("add", "--all");
  git("commit", "--quiet", "--allow-empty", "--message=change");
}

const head = () => git("rev-parse", "--short=12", "HEAD");

beforeEach(() => {
  git("init", "--quiet");
  commit();
});

test("a commit with a tag has the tag's version, an annotated one as well", () => {
  git("tag", "v1.2.3");
  expect(packageVersion(checkout)).toBe("1.2.3");
  git("tag", "--force", "--annotate", "--message=release", "v1.2.3");
  expect(packageVersion(checkout)).toBe("1.2.3");
});

test("a tag that package.json does not say is refused", () => {
  git("tag", "v1.2.4");
  expect(() => packageVersion(checkout)).toThrow("this commit has the tag v1.2.4, but package.json says 1.2.3");
});

test("commits without a tag, before a release and after it, are counted and named", () => {
  expect(packageVersion(checkout)).toBe(`1.2.3~dev1.g${head()}`);
  git("tag", "v1.2.2");
  commit();
  expect(packageVersion(checkout)).toBe(`1.2.3~dev2.g${head()}`);
});

test("tags that are no versions do not count", () => {
  git("tag", "very-good");
  expect(packageVersion(checkout)).toBe(`1.2.3~dev1.g${head()}`);
});

test("changed files make it another version, on a tag as well; new files that git does not know do not", () => {
  git("tag", "v1.2.3");
  writeFileSync(join(checkout, "notes"), "");
  expect(packageVersion(checkout)).toBe("1.2.3");
  writeFileSync(join(checkout, "package.json"), JSON.stringify({ version: "1.2.3", changed: true }));
  expect(packageVersion(checkout)).toBe(`1.2.3~dev1.g${head()}.dirty`);
  commit();
  expect(packageVersion(checkout)).toBe(`1.2.3~dev2.g${head()}`);
});

test("without git's data it is what package.json says", () => {
  rmSync(join(checkout, ".git"), { recursive: true });
  expect(packageVersion(checkout)).toBe("1.2.3");
});

test("dpkg sorts what is made between releases before the release, and later commits after earlier ones", () => {
  const versions = ["1.2.2", "1.2.3~dev9.gffffffffffff", "1.2.3~dev41.g000000000000", "1.2.3"];
  versions.slice(1).forEach((version, index) => {
    execFileSync("dpkg", ["--compare-versions", versions[index] ?? "", "lt", version]);
  });
});
