// `npm run package -- image --update-debian`: locks Debian's packages of the image again, as its mirror has them today.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Architecture, architectures } from "../architecture.ts";
import {
  type DebianLock,
  type DebianPackage,
  debianMirrors,
  lockFile,
  type Mirrors,
  readLock,
} from "./debian-packages.ts";
import { debianRoots, usedPackages } from "./image-files.ts";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** Writes the list and gives what has changed, one line for each package. apt verifies the mirror's signatures. */
export function updateDebianLock(): readonly string[] {
  const { release, packages: before } = readLock();
  const mirrors = debianMirrors();
  const lockedNow = (machine: Architecture) => usedPackages(machine, availablePackages(machine, release, mirrors));
  const [amd64, arm64] = architectures.map(lockedNow);
  const packages: DebianLock["packages"] = { amd64: amd64 ?? [], arm64: arm64 ?? [] };
  writeFileSync(lockFile, `${JSON.stringify({ release, packages }, null, 2)}\n`);
  return architectures.flatMap(({ name }) => changes(name, before[name], packages[name]));
}

function changes(machine: string, before: readonly DebianPackage[], after: readonly DebianPackage[]): string[] {
  const names = [...new Set([...before, ...after].map(({ name }) => name))].sort();
  const versionIn = (list: readonly DebianPackage[], name: string) => list.find((each) => each.name === name)?.version;
  return names.flatMap((name) => {
    const [old, now] = [versionIn(before, name), versionIn(after, name)];
    return old === now ? [] : [`${machine} ${name}: ${old ?? "new"} → ${now ?? "no longer needed"}`];
  });
}

/** What installing the programs would bring: asked of an apt that knows of nothing else. */
function availablePackages({ name }: Architecture, release: string, mirrors: Mirrors): readonly DebianPackage[] {
  const directory = mkdtempSync(join(tmpdir(), "flannel-apt-"));
  try {
    for (const path of ["lists/partial", "cache/archives/partial", "etc/preferences.d"]) {
      mkdirSync(join(directory, path), { recursive: true });
    }
    const source = (url: string, suite: string) => `deb [signed-by=${keyring}] ${url} ${suite} main\n`;
    writeFileSync(
      join(directory, "sources.list"),
      source(mirrors.main, release) + source(mirrors.security, `${release}-security`),
    );
    writeFileSync(join(directory, "status"), "");
    const apt = (program: string, ...argv: readonly string[]) =>
      execFileSync(program, [...aptOptions(directory, name), ...argv], { encoding: "utf8", maxBuffer: 1 << 26 });
    apt("apt-get", "-q", "update");
    const uris = apt("apt-get", "install", "--print-uris", "-y", "-qq", "--no-install-recommends", ...debianRoots);
    const names = [...uris.matchAll(/^'\S+' ([a-z0-9.+-]+)_/gm)].map(([, found]) => found ?? "").sort();
    return apt("apt-cache", "show", "--no-all-versions", ...names)
      .split("\n\n")
      .filter((stanza) => stanza.trim() !== "")
      .map(packageOf);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function aptOptions(directory: string, architecture: string): readonly string[] {
  const settings = {
    "Dir::State": directory,
    "Dir::State::Lists": join(directory, "lists"),
    "Dir::State::status": join(directory, "status"),
    "Dir::Cache": join(directory, "cache"),
    "Dir::Etc": join(directory, "etc"),
    "Dir::Etc::SourceList": join(directory, "sources.list"),
    "Dir::Etc::SourceParts": "/nonexistent",
    "APT::Architecture": architecture,
    "APT::Architectures::": architecture,
    "APT::Sandbox::User": "root",
    "Acquire::Languages": "none",
  };
  return Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
}

function packageOf(stanza: string): DebianPackage {
  const field = (name: string) => {
    const value = new RegExp(`^${name}: (\\S+)$`, "m").exec(stanza)?.[1];
    if (value === undefined) throw new Error(`apt-cache show names no ${name}:\n${stanza}`);
    return value;
  };
  return { name: field("Package"), version: field("Version"), file: field("Filename"), sha256: field("SHA256") };
}
