// The files of the container image: Node, the programs of traffic rules, ip, a shell, and what they load; and, in a layer
// of its own, flannel. One list: whatever makes an image makes it of this.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { TarEntry } from "./tar.ts";

/** A file of the machine that builds, and the path it has in the image, which is the same on every Debian. */
interface Program {
  readonly source: string;
  readonly path: string;
  /** Names that the program also goes by, beside it. */
  readonly names: readonly string[];
}

const restores = ["", "-save", "-restore"];
const namesOf = (variant: string) =>
  ["iptables", "ip6tables"].flatMap((family) => restores.map((end) => `${family}${variant}${end}`));

/** Of `cp`, `mv` and `sync` lives install-conf; the others are for people who look into a pod. */
const applets = [
  ...[
    "cat",
    "chmod",
    "cp",
    "env",
    "find",
    "grep",
    "hostname",
    "kill",
    "less",
    "ls",
    "mkdir",
    "mv",
    "nc",
    "nslookup",
    "ping",
  ],
  ...["ps", "readlink", "rm", "sed", "sh", "sleep", "sync", "tail", "top", "wget"],
];

const programs: readonly Program[] = [
  { source: "/bin/busybox", path: "usr/bin/busybox", names: applets },
  { source: "/sbin/ip", path: "usr/sbin/ip", names: [] },
  { source: "/usr/sbin/nft", path: "usr/sbin/nft", names: [] },
  {
    source: "/usr/sbin/xtables-nft-multi",
    path: "usr/sbin/xtables-nft-multi",
    // Plain names are nft's, as on Debian: flannel finds out by itself which of the two a host uses.
    names: [...namesOf("-nft"), ...namesOf("")],
  },
  { source: "/usr/sbin/xtables-legacy-multi", path: "usr/sbin/xtables-legacy-multi", names: namesOf("-legacy") },
  { source: "/usr/sbin/ipset", path: "usr/sbin/ipset", names: [] },
];

const mergedDirectories = ["bin", "lib", "lib64", "sbin"];
const emptyDirectories = ["etc", "proc", "root", "run", "run/flannel", "sys", "dev", "tmp", "var"];

/** Everything but flannel itself; changes with Debian's packages and with Node. */
export function systemFiles(node: string): readonly TarEntry[] {
  const files = new Map<string, TarEntry>();
  const add = (entry: TarEntry) => files.set(entry.path, entry);
  for (const { source, path, names } of programs) {
    add({ path, content: readFileSync(source), mode: 0o755 });
    for (const name of names) add({ path: join(dirname(path), name), content: { linkTo: basename(path) } });
  }
  const extensions = iptablesExtensions();
  for (const file of extensions) add({ path: file.slice(1), content: readFileSync(file) });
  add({ path: "usr/bin/node", content: strippedOf(node), mode: 0o755 });
  for (const file of librariesOf([node, ...programs.map(({ source }) => source), ...extensions])) {
    add({ path: placeOf(file), content: readFileSync(file), mode: statSync(file).mode & 0o777 });
  }
  for (const name of mergedDirectories) add({ path: name, content: { linkTo: `usr/${name}` } });
  for (const path of emptyDirectories) add({ path, content: "directory", mode: path === "tmp" ? 0o1777 : 0o755 });
  return withDirectories(files);
}

/** flannel, below /opt as in upstream's image: the programs in /opt/bin, their code in /opt/dist. */
export function flannelFiles(root: string): readonly TarEntry[] {
  const files = new Map<string, TarEntry>();
  for (const name of readdirSync(join(root, "bin"))) {
    files.set(`opt/bin/${name}`, {
      path: `opt/bin/${name}`,
      content: readFileSync(join(root, "bin", name)),
      mode: 0o755,
    });
  }
  for (const entry of readdirSync(join(root, "dist"), { withFileTypes: true })) {
    if (!entry.isFile() || entry.name.endsWith(".map")) continue;
    const path = `opt/dist/${entry.name}`;
    files.set(path, { path, content: readFileSync(join(root, "dist", entry.name)) });
  }
  const licence = "usr/share/doc/flannel/LICENSE";
  files.set(licence, { path: licence, content: readFileSync(join(root, "LICENSE")) });
  return withDirectories(files);
}

/** Debug symbols are a seventh of it. */
function strippedOf(program: string): Uint8Array {
  const directory = mkdtempSync(join(tmpdir(), "flannel-image-"));
  try {
    const stripped = join(directory, "node");
    execFileSync("strip", ["--strip-all", "-o", stripped, program]);
    return readFileSync(stripped);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Matches and targets are loaded by name, so that ldd does not see them. */
function iptablesExtensions(): readonly string[] {
  const directory = `/usr/lib/${multiarch()}/xtables`;
  const names = readdirSync(directory).filter((name) => /^lib(xt|ipt|ip6t)_.*\.so$/.test(name));
  return names.map((name) => join(directory, name)).filter((file) => realpathSync(file).startsWith(directory));
}

function multiarch(): string {
  return process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
}

/** As the loader finds them on this machine, the loader itself among them. */
function librariesOf(files: readonly string[]): readonly string[] {
  const found = new Set<string>();
  for (const file of files) {
    const text = execFileSync("sh", ["-c", 'ldd "$1" 2>&1 || true', "sh", file], { encoding: "utf8" });
    if (text.includes("not found")) throw new Error(`${file} lacks a library on this machine:\n${text}`);
    for (const [, path] of text.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)) if (path !== undefined) found.add(path);
  }
  return [...found].sort();
}

/** `/lib` is a link to `/usr/lib` in the image, whatever it is on this machine. */
function placeOf(library: string): string {
  return library.startsWith("/usr/") ? library.slice(1) : `usr${library}`;
}

/** In order, each directory before what is in it. */
function withDirectories(files: ReadonlyMap<string, TarEntry>): readonly TarEntry[] {
  const all = new Map(files);
  for (const path of files.keys()) {
    for (let parent = dirname(path); parent !== "."; parent = dirname(parent)) {
      if (!all.has(parent)) all.set(parent, { path: parent, content: "directory" });
    }
  }
  return [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}
