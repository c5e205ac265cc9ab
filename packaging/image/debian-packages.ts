// Debian's packages that the image takes files from: the locked list, and how their files get here. A package is fetched once
// from a mirror of Debian, verified by its checksum, and kept unpacked in .cache.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import type { Architecture } from "../architecture.ts";
import { root } from "../checkout.ts";

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  /** In the archive, as `pool/main/n/nftables/nftables_1.1.3-1_amd64.deb`. */
  readonly file: string;
  /** Hexadecimal. */
  readonly sha256: string;
}

export interface DebianLock {
  /** Debian's release, as `trixie`. */
  readonly release: string;
  readonly packages: Readonly<Record<Architecture["name"], readonly DebianPackage[]>>;
}

export const lockFile = join(root, "packaging/image/debian-packages.json");
const updateCommand = "npm run package -- image --update-debian";
const cache = join(root, ".cache/packages/debian");
const mirrorVariable = "DEBIAN_MIRROR";

export function readLock(): DebianLock {
  return JSON.parse(readFileSync(lockFile, "utf8")) as DebianLock;
}

/** Base URLs, without a slash at the end. */
export interface Mirrors {
  readonly main: string;
  readonly security: string;
}

/** DEBIAN_MIRROR, else where this machine has its own packages from. */
export function debianMirrors(): Mirrors {
  const named = process.env[mirrorVariable]?.replace(/\/+$/, "");
  if (named !== undefined && named !== "") return { main: named, security: `${named}-security` };
  const argv = ["indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"];
  const targets = execFileSync("apt-get", argv, { encoding: "utf8" });
  const find = (label: string) => new RegExp(`^${label} (\\S+?)/*$`, "m").exec(targets)?.[1];
  const main = find("Debian");
  if (main === undefined) {
    throw new Error(
      `apt names no mirror of Debian on this machine: run apt-get update, or put the URL of one in ${mirrorVariable}`,
    );
  }
  return { main, security: find("Debian-Security") ?? `${main}-security` };
}

/** Directories with the packages' files, in the order given. Throws when a package is not to be had. */
export function unpackedPackages(packages: readonly DebianPackage[]): readonly string[] {
  const missing = packages.filter((each) => !existsSync(directoryOf(each)));
  if (missing.length > 0) fetchAll(missing);
  return packages.map(directoryOf);
}

/** By checksum: what was fetched for another lock is never taken for it. */
function directoryOf({ file, sha256 }: DebianPackage): string {
  return join(cache, `${basename(file, ".deb")}-${sha256.slice(0, 16)}`);
}

function fetchAll(packages: readonly DebianPackage[]): void {
  const mirrors = debianMirrors();
  mkdirSync(cache, { recursive: true });
  const directory = mkdtempSync(join(cache, "fetch-"));
  try {
    const jobs = packages.map((each) => ({ each, target: join(directory, basename(each.file)) }));
    const argv = jobs.flatMap(({ each, target }) => [urlOf(each, mirrors), target, `SHA256:${each.sha256}`]);
    const said = downloadFiles(argv);
    const lost = jobs.filter(({ each, target }) => !existsSync(target) || sha256Of(target) !== each.sha256);
    if (lost.length > 0) throw new Error(explainLoss(lost.map(({ each }) => each)) + said);
    for (const { each, target } of jobs) {
      const unpacked = `${target}.d`;
      execFileSync("dpkg-deb", ["--extract", target, unpacked]);
      // Another run may have been first.
      if (!existsSync(directoryOf(each))) renameSync(unpacked, directoryOf(each));
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function urlOf({ file }: DebianPackage, { main, security }: Mirrors): string {
  const path = file.split("/").map(encodeURIComponent).join("/");
  return `${file.startsWith("pool/updates/") ? security : main}/${path}`;
}

/** Gives what apt said when something could not be fetched: "" if all is well. */
function downloadFiles(argv: readonly string[]): string {
  try {
    const options = ["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=5", "download-file"];
    execFileSync("/usr/lib/apt/apt-helper", [...options, ...argv], { stdio: ["ignore", "ignore", "pipe"] });
    return "";
  } catch (error) {
    return `\n${error instanceof Error && "stderr" in error ? String(error.stderr) : String(error)}`.trimEnd();
  }
}

function explainLoss(packages: readonly DebianPackage[]): string {
  const lines = packages.map(({ name, version, file }) => `  ${name} ${version} (${file})`);
  const sentences = [
    "these Debian packages of the image could not be fetched as locked:",
    ...lines,
    `If the mirror has newer versions instead (404), run \`${updateCommand}\`, look at what it changes in`,
    `packaging/image/debian-packages.json, test and commit it; or name a mirror that still has them in ${mirrorVariable}.`,
  ];
  return sentences.join("\n");
}

function sha256Of(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}
