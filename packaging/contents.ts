// The one list of files that every form of package is made from: the directory flannel/, complete in itself.
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, globSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { flannelStoreFlags } from "../src/cli/flags/flannel-store-flags.ts";
import { flanneldFlags } from "../src/cli/flags/flanneld-flag-table.ts";
import { bashScript } from "../src/cli/flannelctl/completion/bash-script.ts";
import { describeCommand } from "../src/cli/flannelctl/completion/command-tree.ts";
import { fishScript } from "../src/cli/flannelctl/completion/fish-script.ts";
import { zshScript } from "../src/cli/flannelctl/completion/zsh-script.ts";
import { buildProgram } from "../src/cli/flannelctl/program.ts";
import type { Architecture } from "./architecture.ts";
import { pinnedNodeVersion, root, sourceDate } from "./checkout.ts";
import { daemonPage, flannelctlPage } from "./man-pages.ts";
import { fetchNpmPackage, lockedPackage } from "./npm-package.ts";
import { billOfMaterials, bundledComponents, type Component, licenseDocument, npmComponent } from "./third-party.ts";

/** One file of flannel/. */
export interface PackagedFile {
  /** Below flannel/. */
  readonly path: string;
  readonly mode: 0o644 | 0o755;
  readonly content: Uint8Array;
}

export interface Contents {
  readonly version: string;
  readonly architecture: Architecture;
  /** In the order of their paths. */
  readonly files: readonly PackagedFile[];
}

/** Where a package goes. */
export interface Output {
  readonly directory: string;
  /** Uncompressed. */
  readonly isFast: boolean;
}

/** Needs a built dist/, and npm's registry once for each machine. */
export function packageContents(architecture: Architecture, version: string): Contents {
  const node = nodeRuntime(architecture);
  const native = nativePackage(architecture);
  const components = [...bundledComponents(), native.component, node.component].sort((a, b) =>
    a.name < b.name ? -1 : 1,
  );
  const files = [
    ...programFiles(),
    file("dist/koffi.node", native.library, 0o755),
    file("node/bin/node", node.program, 0o755),
    file("node/LICENSE", Buffer.from(node.component.licenseText)),
    ...documentFiles(),
    file("THIRD-PARTY-LICENSES.txt", Buffer.from(licenseDocument(components))),
    file("sbom.cdx.json", Buffer.from(billOfMaterials(version, sourceDate(), components))),
    file("VERSION", Buffer.from(`${version}\n`)),
    ...interfaceFiles(version),
    ...installFiles(),
  ];
  return { version, architecture, files: files.toSorted((a, b) => (a.path < b.path ? -1 : 1)) };
}

/** Writes flannel/ below `directory`. */
export function writeContents({ files }: Contents, directory: string): void {
  for (const { path, mode, content } of files) {
    const target = join(directory, "flannel", path);
    mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
    writeFileSync(target, content);
    chmodSync(target, mode);
  }
}

function file(path: string, content: Uint8Array, mode: PackagedFile["mode"] = 0o644): PackagedFile {
  return { path, mode, content };
}

export function fromCheckout(pattern: string, mode?: PackagedFile["mode"]): PackagedFile[] {
  const entries = globSync(pattern, { cwd: root, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => relative(root, join(entry.parentPath, entry.name)));
  return paths.map((path) => file(path, readFileSync(join(root, path)), mode));
}

/** The bundle is the same on every machine but for koffi's native part. Source maps stay out: they are half of it. */
export function programFiles(): PackagedFile[] {
  return [
    ...fromCheckout("dist/*.mjs"),
    ...fromCheckout("dist/dashboard.html"),
    ...fromCheckout("dist/build-stamp"),
    ...fromCheckout("bin/{flanneld,flannelctl,flannel-store,mk-docker-opts,mk-docker-opts.sh}", 0o755),
    ...fromCheckout("bin/launch.sh"),
    ...fromCheckout("cni/flannel", 0o755),
    ...fromCheckout("deploy/*.service"),
  ];
}

/** With all that they link to. */
export function documentFiles(): PackagedFile[] {
  return [
    ...fromCheckout("{*.md,LICENSE}"),
    ...fromCheckout("docs/**/*.{md,json,svg}"),
    ...fromCheckout("examples/**"),
    ...fromCheckout("deploy/{chart,kubernetes,kustomize,monitoring}/**"),
  ];
}

/** Manual pages and completions. */
function interfaceFiles(version: string): PackagedFile[] {
  const program = buildProgram({ writeOut: () => undefined }, version, () => Promise.resolve());
  const tree = describeCommand(program);
  const agent = "leases a subnet for this host and connects its containers with those on other hosts";
  const store = "keeps the leases of a flannel network without etcd";
  const texts = {
    "man/man1/flannelctl.1": flannelctlPage(program, version),
    "man/man8/flanneld.8": daemonPage("flanneld", agent, flanneldFlags, version),
    "man/man8/flannel-store.8": daemonPage("flannel-store", store, flannelStoreFlags, version),
    "completions/flannelctl.bash": bashScript(tree),
    "completions/_flannelctl": zshScript(tree),
    "completions/flannelctl.fish": fishScript(tree),
  };
  return Object.entries(texts).map(([path, text]) => file(path, Buffer.from(text)));
}

function installFiles(): PackagedFile[] {
  const read = (path: string) => readFileSync(join(root, "packaging", path));
  return [
    file("install.sh", read("files/install.sh"), 0o755),
    file("defaults/flanneld", read("files/flanneld.default")),
    file("defaults/flannel-store", read("files/flannel-store.default")),
    file("scripts/after-install.sh", read("scripts/after-install.sh"), 0o755),
    file("scripts/before-remove.sh", read("scripts/before-remove.sh"), 0o755),
    file("scripts/after-purge.sh", read("scripts/after-purge.sh"), 0o755),
  ];
}

interface NodeRuntime {
  readonly program: Uint8Array;
  /** The same program on this machine. */
  readonly file: string;
  readonly component: Component;
}

/** Node without debug symbols. */
export function nodeRuntime({ node, nodeIntegrity, triplet }: Architecture): NodeRuntime {
  const version = pinnedNodeVersion();
  const directory = fetchNpmPackage(`node-linux-${node}`, version, nodeIntegrity);
  const licenseText = readFileSync(join(directory, "LICENSE"), "utf8");
  const name = `node-linux-${node}`;
  const component = npmComponent({ name, version, license: "MIT", licenseText, integrity: nodeIntegrity });
  const file = stripped(join(directory, "bin/node"), `${triplet}-strip`);
  return { program: readFileSync(file), file, component };
}

/** Without symbols: a seventh smaller, the same program. Kept beside the program. */
function stripped(program: string, strip: string): string {
  const target = `${program}.stripped`;
  if (!existsSync(target)) {
    const unfinished = `${target}.${process.pid}`;
    execFileSync(strip, ["-o", unfinished, program]);
    renameSync(unfinished, target);
  }
  return target;
}

/** koffi's native part. */
export function nativePackage({ node }: Architecture): { library: Uint8Array; component: Component } {
  const name = `@koromix/koffi-linux-${node}`;
  const { version, integrity } = lockedPackage(name);
  const directory = fetchNpmPackage(name, version, integrity);
  const library = readFileSync(join(directory, `linux_${node}`, "koffi.node"));
  const licenseText = readFileSync(join(root, "node_modules/koffi/LICENSE.txt"), "utf8");
  return { library, component: npmComponent({ name, version, license: "MIT", licenseText, integrity }) };
}
