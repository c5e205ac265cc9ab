// Guards the list of dependencies: each is named with its reason in docs/dependencies.md, pinned, and locked whole.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import manifest from "../package.json" with { type: "json" };

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), "utf8");

/** The rows of the table under a heading: package name and the first reason given. */
function documented(heading: string): Map<string, string> {
  const section = read("docs/dependencies.md").split(`## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("| "));
  const cells = rows.slice(1).map((row) => row.split("|").map((cell) => cell.trim()));
  return new Map(cells.map(([, name, reason]) => [name ?? "", reason ?? ""]));
}

interface LockedPackage {
  readonly resolved?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const locked: Readonly<Record<string, LockedPackage>> = JSON.parse(read("package-lock.json")).packages;

describe("dependencies", () => {
  it.each([
    ["In the product", manifest.dependencies],
    ["For development", manifest.devDependencies],
  ])("%s: every package has a reason, and nothing else is listed", (heading, dependencies) => {
    const rows = documented(heading);
    expect([...rows.keys()]).toEqual(Object.keys(dependencies));
    for (const [name, reason] of rows) expect(reason.length, name).toBeGreaterThan(10);
  });

  it("are pinned to exact versions", () => {
    const versions = Object.values({ ...manifest.dependencies, ...manifest.devDependencies });
    for (const version of versions) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
  });

  it("From Debian: the packages that set-up wants are those that are explained", () => {
    const setup = read("scripts/setup.sh");
    const withoutProgram = [...setup.matchAll(/missing="\$missing ([a-z]\S*)"$/gm)].flatMap((match) => match[1] ?? []);
    const wanted = [...setup.matchAll(/^ +want (\S+) \S+$/gm)].map((match) => match[1]);
    expect([...wanted, ...withoutProgram].sort()).toEqual([...documented("From Debian").keys()]);
  });
});

describe("the lock file", () => {
  it("names no download address", () => {
    expect(Object.entries(locked).filter(([, entry]) => entry.resolved !== undefined)).toEqual([]);
  });

  it("has the packages of every platform", () => {
    const missing = Object.entries(locked).flatMap(([path, entry]) =>
      Object.keys(entry.optionalDependencies ?? {}).filter(
        (name) => locked[`node_modules/${name}`] === undefined && locked[`${path}/node_modules/${name}`] === undefined,
      ),
    );
    expect(missing).toEqual([]);
  });
});
