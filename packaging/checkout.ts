// What a package is made from: this checkout, its version and its date.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Without a slash at its end. */
export const root = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");

function git(directory: string, ...args: readonly string[]): string | undefined {
  try {
    const argv = ["-c", "safe.directory=*", "-C", directory, ...args];
    return execFileSync("git", argv, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return undefined; // no git, no checkout, or no such tag
  }
}

interface Manifest {
  readonly version: string;
}

/**
 * The version that packages carry: that of the tag on this commit (`v1.2.3`), which must be package.json's; between tags
 * one that dpkg and rpm sort before it (`1.2.3~dev41.g0123abcdef01`), with the number of commits. Files that differ from
 * the commit's make it another version (`1.2.3~dev41.g0123abcdef01.dirty`), on a tag as well.
 */
export function packageVersion(checkout = root): string {
  const { version } = JSON.parse(readFileSync(join(checkout, "package.json"), "utf8")) as Manifest;
  const commits = git(checkout, "rev-list", "--count", "HEAD");
  if (commits === undefined) return version;
  const tag = git(checkout, "describe", "--tags", "--exact-match", "--match", "v[0-9]*");
  if (tag !== undefined && tag !== `v${version}`) {
    throw new Error(`this commit has the tag ${tag}, but package.json says ${version}`);
  }
  const isChanged = git(checkout, "status", "--porcelain", "--untracked-files=no") !== "";
  if (tag !== undefined && !isChanged) return version;
  const commit = `${version}~dev${commits}.g${git(checkout, "rev-parse", "--short=12", "HEAD")}`;
  return isChanged ? `${commit}.dirty` : commit;
}

/** Seconds since 1970 that all files in packages carry: SOURCE_DATE_EPOCH, else the time of the commit. */
export function sourceDate(): number {
  const text = process.env["SOURCE_DATE_EPOCH"] ?? git(root, "log", "-1", "--format=%ct") ?? "0";
  if (!/^\d{1,11}$/.test(text)) throw new Error(`SOURCE_DATE_EPOCH=${text} is not a number of seconds`);
  return Number(text);
}

/** The Node that set-up pins, which packages bring along. */
export function pinnedNodeVersion(): string {
  const text = readFileSync(join(root, "scripts/setup.sh"), "utf8");
  const version = /^node_version=(\S+)$/m.exec(text)?.[1];
  if (version === undefined) throw new Error("scripts/setup.sh names no node_version");
  return version;
}
