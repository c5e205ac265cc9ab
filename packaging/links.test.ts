// Links in the documentation lead to files and headings that exist: in the checkout, and in what packages bring along.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { expect, test } from "vitest";
import { root } from "./checkout.ts";
import { documentFiles, programFiles } from "./contents.ts";
import { documentPaths } from "./host-layout.ts";

interface Link {
  readonly page: string;
  readonly target: string;
}

const withoutCode = (text: string) => text.replaceAll(/^ *```.*?^ *```$/gms, "").replaceAll(/`[^`\n]*`/g, "");

/** To files and headings of ours. */
function linksOf(page: string): readonly Link[] {
  const text = withoutCode(readFileSync(join(root, page), "utf8"));
  const matches = text.matchAll(/\]\(([^)\s]+)\)|\b(?:src|srcset|href)="([^"]+)"/g);
  const targets = [...matches].map(([, inline, html]) => inline ?? html ?? "");
  return targets.filter((target) => !/^[a-z]+:/.test(target)).map((target) => ({ page, target }));
}

/** As GitHub names headings. */
function anchorsOf(page: string): ReadonlySet<string> {
  const text = readFileSync(join(root, page), "utf8").replaceAll(/^ *```.*?^ *```$/gms, "");
  const found = new Set<string>();
  for (const [, heading = ""] of text.matchAll(/^#{1,6} +(.*?) *$/gm)) {
    const words = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const name = words.replaceAll(/[^\p{L}\p{N}\p{M} _-]/gu, "").replaceAll(" ", "-");
    let number = 0;
    while (found.has(number === 0 ? name : `${name}-${number}`)) number++;
    found.add(number === 0 ? name : `${name}-${number}`);
  }
  return found;
}

/** Those of the links on `pages` that lead nowhere among `files`. */
function deadLinks(pages: readonly string[], files: readonly string[]): readonly Link[] {
  const known = new Set(files);
  for (const file of files) {
    for (let path = dirname(file); path !== "."; path = dirname(path)) known.add(path);
  }
  return pages.flatMap(linksOf).filter(({ page, target }) => {
    const [path = "", anchor] = target.split("#");
    const file = path === "" ? page : normalize(join(dirname(page), path)).replace(/\/$/, "");
    return !known.has(file) || (anchor !== undefined && !anchorsOf(file).has(anchor));
  });
}

const isPage = (path: string) => path.endsWith(".md");

test("in the checkout", () => {
  const argv = ["-c", "safe.directory=*", "-C", root, "ls-files", "-z"];
  const files = execFileSync("git", argv, { encoding: "utf8" }).split("\0");
  const pages = files.filter(isPage);
  expect(pages.flatMap(linksOf).length).toBeGreaterThan(300);
  expect(deadLinks(pages, files)).toEqual([]);
});

test("in packages, and where a distribution has documentation", () => {
  const paths = [...documentFiles(), ...programFiles()].map(({ path }) => path);
  const pages = paths.filter(isPage);
  expect(pages).toEqual(expect.arrayContaining(["README.md", "SECURITY.md", "docs/installing.md"]));
  expect(deadLinks(pages, paths)).toEqual([]);
  // /usr/share/doc/flannel has a link to each document and directory.
  const linked = paths.filter((path) => documentPaths.some((name) => path === name || path.startsWith(`${name}/`)));
  expect(deadLinks(linked.filter(isPage), linked)).toEqual([]);
});

test("a dead link is found: a file that is missing, a heading that is missing", () => {
  const page = "docs/benchmarks.md";
  const others = documentFiles().map(({ path }) => path);
  const without = others.filter((path) => path !== "docs/convergence.svg");
  expect(deadLinks([page], without)).toEqual([{ page, target: "convergence.svg" }]);
  expect(anchorsOf(page).has("no-such-heading")).toBe(false);
});
