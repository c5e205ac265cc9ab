// The files of the container image: Node, the programs of traffic rules, ip, a shell, and what they load, all from Debian's
// packages but for Node; and, in a layer of its own, flannel. One list: whatever makes an image makes it of this.
import { basename, dirname, join } from "node:path";
import type { Architecture } from "../architecture.ts";
import { sourceDate } from "../checkout.ts";
import { fromCheckout, nativePackage, nodeRuntime, type PackagedFile, programFiles } from "../contents.ts";
import { billOfMaterials, bundledComponents, type Component, licenseDocument } from "../third-party.ts";
import { DebianFiles } from "./debian-files.ts";
import { type DebianPackage, readLock, unpackedPackages } from "./debian-packages.ts";
import type { TarEntry } from "./tar.ts";

interface Program {
  readonly path: string;
  /** Names that the program also goes by, beside it. */
  readonly names: readonly string[];
}

const restores = ["", "-save", "-restore"];
const namesOf = (variant: string) =>
  ["iptables", "ip6tables"].flatMap((family) => restores.map((end) => `${family}${variant}${end}`));

/** Of `cp`, `mv` and `sync` lives install-conf; the others are for people who look into a pod. */
const applets = [
  ...["cat", "chmod", "cp", "env", "find", "grep", "hostname", "kill", "less", "ls", "mkdir", "mv", "nc", "nslookup"],
  ...["ping", "ps", "readlink", "rm", "sed", "sh", "sleep", "sync", "tail", "top", "wget"],
];

const programs: readonly Program[] = [
  { path: "usr/bin/busybox", names: applets },
  { path: "usr/sbin/ip", names: [] },
  { path: "usr/sbin/nft", names: [] },
  // Plain names are nft's, as on Debian: flannel finds out by itself which of the two a host uses.
  { path: "usr/sbin/xtables-nft-multi", names: [...namesOf("-nft"), ...namesOf("")] },
  { path: "usr/sbin/xtables-legacy-multi", names: namesOf("-legacy") },
  { path: "usr/sbin/ipset", names: [] },
];

/** Debian's packages with these programs, and with what Node loads; what else they need follows from it. */
export const debianRoots = ["busybox-static", "iproute2", "ipset", "iptables", "libstdc++6", "nftables"] as const;

const mergedDirectories = ["bin", "lib", "lib64", "sbin"];
const emptyDirectories = ["etc", "proc", "root", "run", "run/flannel", "sys", "dev", "tmp", "var"];

/** The image in two lists; the second changes with each version of flannel. */
export function imageLayers(architecture: Architecture, version: string): readonly [TarEntry[], TarEntry[]] {
  const locked = readLock().packages[architecture.name];
  const debian = new DebianFiles(architecture, locked, unpackedPackages(locked));
  const system = systemFiles(architecture, debian);
  return [system, flannelFiles(architecture, version, debian)];
}

/** All that `imageLayers` takes from Debian and npm, which it then does without. */
export function fetchImageFiles(architecture: Architecture): void {
  nodeRuntime(architecture);
  nativePackage(architecture);
  unpackedPackages(readLock().packages[architecture.name]);
}

/** Those of `packages` that the image has files of. */
export function usedPackages(architecture: Architecture, packages: readonly DebianPackage[]): readonly DebianPackage[] {
  const debian = new DebianFiles(architecture, packages, unpackedPackages(packages));
  systemFiles(architecture, debian);
  for (const each of [...debian.used]) debian.copyrightOf(each);
  return packages.filter((each) => debian.used.has(each));
}

/** Everything but flannel itself; changes with Debian's packages and with Node. */
function systemFiles(architecture: Architecture, debian: DebianFiles): TarEntry[] {
  const entries: TarEntry[] = [];
  for (const { path, names } of programs) {
    entries.push(debian.take(path, 0o755));
    for (const name of names) entries.push({ path: join(dirname(path), name), content: { linkTo: basename(path) } });
  }
  const node = nodeRuntime(architecture);
  entries.push({ path: "usr/bin/node", content: node.program, mode: 0o755 });
  // Matches and targets of iptables are loaded by name: no program says that it needs them.
  const extensions = debian.list(`usr/lib/${architecture.triplet}/xtables`, /^lib(xt|ipt|ip6t)_.*\.so$/);
  for (const { path, linkTo } of extensions) {
    entries.push(linkTo === undefined ? debian.take(path) : { path, content: { linkTo } });
  }
  const loading = [...programs, ...extensions].map(({ path }) => debian.fileAt(path));
  for (const path of debian.librariesOf([node.file, ...loading])) entries.push(debian.take(path, 0o755));
  const merged = mergedDirectories.filter((name) => name !== "lib64" || architecture.loader.startsWith("usr/lib64/"));
  for (const name of merged) entries.push({ path: name, content: { linkTo: `usr/${name}` } });
  for (const path of emptyDirectories) {
    entries.push({ path, content: "directory", mode: path === "tmp" ? 0o1777 : 0o755 });
  }
  // As glibc would have it without; said, because it decides how the names of etcd servers are looked up.
  entries.push({ path: "etc/nsswitch.conf", content: Buffer.from("hosts: files dns\n") });
  return withDirectories(entries);
}

/**
 * flannel, below /opt as in upstream's image: the programs in /opt/bin, their code in /opt/dist, and the CNI plugin where
 * upstream's image of the plugin has it.
 */
function flannelFiles(architecture: Architecture, version: string, debian: DebianFiles): TarEntry[] {
  const native = nativePackage(architecture);
  const parts = [...bundledComponents(), native.component, nodeRuntime(architecture).component];
  const components = [...parts, ...[...debian.used].map((each) => debianComponent(each, debian))];
  components.sort((a, b) => (a.purl < b.purl ? -1 : 1));
  const document = (name: string, text: string) => ({
    path: `usr/share/doc/flannel/${name}`,
    content: Buffer.from(text),
  });
  const placed = ({ path, content, mode }: PackagedFile): TarEntry => {
    if (path === "cni/flannel") return { path: "flannel", content, mode };
    if (path === "LICENSE") return { path: "usr/share/doc/flannel/LICENSE", content, mode };
    return { path: `opt/${path}`, content, mode };
  };
  return withDirectories([
    ...[...programFiles(), ...fromCheckout("bin/install-conf", 0o755), ...fromCheckout("LICENSE")]
      .filter(({ path }) => !path.startsWith("deploy/"))
      .map(placed),
    { path: "opt/dist/koffi.node", content: native.library, mode: 0o755 },
    document("THIRD-PARTY-LICENSES.txt", licenseDocument(components)),
    document("sbom.cdx.json", billOfMaterials(version, sourceDate(), components)),
    document("VERSION", `${version}\n`),
  ]);
}

function debianComponent(each: DebianPackage, debian: DebianFiles): Component {
  const { name, version, sha256 } = each;
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}`;
  return { name, version, licenseText: debian.copyrightOf(each), purl, hash: { alg: "SHA-256", content: sha256 } };
}

/** In order, each directory before what is in it. */
function withDirectories(files: readonly TarEntry[]): TarEntry[] {
  const all = new Map(files.map((entry) => [entry.path, entry]));
  if (all.size < files.length) throw new Error("the image has a file twice");
  for (const { path } of files) {
    for (let parent = dirname(path); parent !== "."; parent = dirname(parent)) {
      if (!all.has(parent)) all.set(parent, { path: parent, content: "directory" });
    }
  }
  return [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}
