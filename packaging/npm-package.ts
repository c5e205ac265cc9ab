// Packages of npm for another machine than this one: fetched once, verified, and kept in .cache.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { root } from "./checkout.ts";

const cache = join(root, ".cache/packages");

/** The directory with the package's files. `integrity` is npm's: "sha512-" and base64. Throws when it is another file. */
export function fetchNpmPackage(name: string, version: string, integrity: string): string {
  const label = `${name.replace("/", "-").replace("@", "")}-${version}`;
  const directory = join(cache, label);
  if (existsSync(directory)) return join(directory, "package");
  mkdirSync(cache, { recursive: true });
  const archive = join(cache, `${label}.tgz`);
  const npm = join(dirname(process.execPath), "../../npm/bin/npm-cli.js");
  const argv = [npm, "pack", `${name}@${version}`, "--pack-destination", cache, "--json", "--loglevel=error"];
  execFileSync(process.execPath, argv, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  const found = `sha512-${createHash("sha512").update(readFileSync(archive)).digest("base64")}`;
  if (found !== integrity) {
    rmSync(archive);
    throw new Error(`npm's ${name}@${version} is not the file that is expected: ${found} instead of ${integrity}`);
  }
  const unpacked = `${directory}.${process.pid}`;
  mkdirSync(unpacked);
  execFileSync("tar", ["-xzf", archive, "-C", unpacked]);
  renameSync(unpacked, directory);
  rmSync(archive);
  return join(directory, "package");
}

interface LockFile {
  readonly packages: Readonly<Record<string, { readonly version: string; readonly integrity?: string }>>;
}

/** Version and integrity of a package, as package-lock.json has them. */
export function lockedPackage(name: string): { readonly version: string; readonly integrity: string } {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as LockFile;
  const { version, integrity } = lock.packages[`node_modules/${name}`] ?? {};
  if (version === undefined || integrity === undefined) throw new Error(`package-lock.json has no ${name}`);
  return { version, integrity };
}
