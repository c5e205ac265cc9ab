// What is inside of packages, for every machine and in every form: programs for that machine, which need no newer libraries
// than the package and the documentation say; the bill of materials; what lies where a distribution looks for it. And the
// same bytes from two builds, compressed as they are published.
import { execFileSync } from "node:child_process";
import { chmodSync, globSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { run } from "../../../lab/command.ts";
import { DEADLINE_MS } from "../../../lab/wait.ts";
import { type Architecture, architectures } from "../../../packaging/architecture.ts";
import { pinnedNodeVersion, root } from "../../../packaging/checkout.ts";
import { writeImageFiles } from "../../../packaging/image/image.ts";
import { version } from "../../../src/version.ts";
import { makePackage, type PackageForm } from "../../support/installed-host.ts";

const forms = ["deb", "rpm", "tar"] as const satisfies readonly PackageForm[];

/** e_machine of elf.h, as the ELF header has it from byte 18 on. */
const elfMachines = { amd64: 62, arm64: 183 } as const;

const unpack: Readonly<Record<PackageForm, string>> = {
  deb: 'dpkg-deb --extract "$1" "$2"',
  rpm: 'rpm2cpio "$1" | cpio --quiet -idm --directory="$2"',
  tar: 'tar -xzf "$1" -C "$2"',
};

const sh = (script: string, ...args: readonly string[]) =>
  execFileSync("sh", ["-euc", script, "sh", ...args], { encoding: "utf8", maxBuffer: 1 << 26 });

function unpacked(form: PackageForm, file: string): string {
  const directory = mkdtempSync(join(tmpdir(), "unpacked-"));
  sh(unpack[form], file, directory);
  return directory;
}

/** Of the directory flannel/ in an unpacked package. */
const homeIn: Readonly<Record<PackageForm, string>> = {
  deb: "usr/lib/flannel",
  rpm: "usr/lib/flannel",
  tar: "flannel",
};

/** Paths of files and links. */
function listing(directory: string): readonly string[] {
  const found = globSync("**/*", { cwd: directory, withFileTypes: true }).filter((entry) => !entry.isDirectory());
  return found.map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1)).sort();
}

function elfFiles(directory: string): readonly { readonly path: string; readonly machine: number }[] {
  const entries = globSync("**/*", { cwd: directory, withFileTypes: true }).filter((entry) => entry.isFile());
  return entries.flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    const bytes = readFileSync(path);
    if (bytes.length < 20 || bytes.readUInt32BE(0) !== 0x7f454c46) return [];
    return [{ path: path.slice(directory.length + 1), machine: bytes.readUInt16LE(18) }];
  });
}

/** What the package itself says of the machine that it is for. */
function statedMachine(form: PackageForm, file: string): string {
  if (form === "deb") return sh('dpkg-deb --field "$1" Architecture', file).trim();
  if (form === "rpm") return sh('rpm -qp --nosignature --queryformat "%{ARCH}" "$1"', file);
  return /-linux-(\w+)\.tar\.gz$/.exec(file)?.[1] ?? "";
}

const { compare } = new Intl.Collator("en", { numeric: true });

/** The newest version of a library's symbols, as `GLIBC`, that one of the programs needs; "" without one. */
function newestNeeded(library: string, programs: readonly string[]): string {
  const text = sh('LC_ALL=C readelf --version-info --wide "$@"', ...programs);
  const versions = [...text.matchAll(new RegExp(`Name: ${library}_([0-9.]+)`, "g"))].map(
    ([, version]) => version ?? "",
  );
  return versions.toSorted(compare).at(-1) ?? "";
}

interface Bill {
  readonly metadata: { readonly component: { readonly version: string } };
  readonly components: readonly { readonly "bom-ref": string; readonly name: string; readonly version: string }[];
}

/** The dashboard's page, which has no source map, is made with them. */
const pageLibraries = ["preact", "uplot"];

/** Names of npm's packages that the bundle is made of, as its source maps know them. */
function bundledNames(): ReadonlySet<string> {
  const maps = globSync("dist/*.mjs.map", { cwd: root }).map((path) => readFileSync(join(root, path), "utf8"));
  const sources = maps.flatMap((text) => (JSON.parse(text) as { readonly sources: readonly string[] }).sources);
  const names = sources.flatMap((source) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(source)?.[1] ?? []);
  // A package may have been built from sources that lay elsewhere: @js-sdsl/.build-data.
  return new Set([...pageLibraries, ...names.filter((name) => !name.includes("/."))]);
}

const expectedOnHost = [
  ...["etc/default/flannel-store", "etc/default/flanneld", "usr/bin/flannelctl", "usr/sbin/flannel-store"],
  ...["usr/sbin/flanneld", "usr/lib/systemd/system/flannel-store.service", "usr/lib/systemd/system/flanneld.service"],
  ...["usr/share/bash-completion/completions/flannelctl", "usr/share/fish/vendor_completions.d/flannelctl.fish"],
  ...[
    "usr/share/man/man1/flannelctl.1.gz",
    "usr/share/man/man8/flannel-store.8.gz",
    "usr/share/man/man8/flanneld.8.gz",
  ],
];
const zshFunctions = { deb: "usr/share/zsh/vendor-completions", rpm: "usr/share/zsh/site-functions" } as const;

describe.each(architectures)("packages for $name", (architecture: Architecture) => {
  const files = {} as Record<PackageForm, string>;
  const trees = {} as Record<PackageForm, string>;
  let home: string;

  beforeAll(async () => {
    for (const form of forms) {
      files[form] = await makePackage(form, "1.0.0", { machine: architecture.name });
      trees[form] = unpacked(form, files[form]);
    }
    home = join(trees.deb, homeIn.deb);
  }, 10 * DEADLINE_MS);

  test.each(forms)(".%s says so, and has programs for that machine alone", (form) => {
    expect(statedMachine(form, files[form])).toBe(form === "rpm" ? architecture.rpm : architecture.name);
    const found = elfFiles(join(trees[form], homeIn[form]));
    expect(found.map(({ path }) => path).sort()).toEqual(["dist/koffi.node", "node/bin/node"]);
    for (const { path, machine } of found) expect(machine, path).toBe(elfMachines[architecture.name]);
    // The two others have the same files, byte for byte.
    const diff = 'diff --recursive --no-dereference "$1" "$2"';
    expect(sh(diff, home, join(trees[form], homeIn[form]))).toBe("");
  });

  test.each(["deb", "rpm"] as const)(".%s has units, manual pages and completions in their places", (form) => {
    const outside = listing(trees[form]).filter((path) => !/^usr\/(lib\/flannel|share\/doc)\//.test(path));
    expect(outside).toEqual([...expectedOnHost, `${zshFunctions[form]}/_flannelctl`].sort());
  });

  test("the programs need no newer libraries than packages and documentation say", () => {
    const programs = [join(home, "node/bin/node"), join(home, "dist/koffi.node")];
    const [glibc, libstdcxx] = ["GLIBC", "GLIBCXX"].map((library) => newestNeeded(library, programs)) as [
      string,
      string,
    ];
    const depends = sh('dpkg-deb --field "$1" Depends', files.deb);
    const floor = /libc6 \(>= ([0-9.]+)\)/.exec(depends)?.[1] ?? "";
    expect(glibc).toBe(floor);
    const required = sh('rpm -qp --nosignature --requires "$1"', files.rpm);
    expect(required).toContain(`libc.so.6(GLIBC_${floor})(64bit)`);
    for (const page of ["docs/installing.md", "packaging/files/install.sh"]) {
      expect(readFileSync(join(root, page), "utf8"), page).toContain(`glibc ${floor}`);
    }
    // libstdc++ of GCC 8 has GLIBCXX_3.4.25.
    expect(depends).toContain("libstdc++6 (>= 8)");
    expect(required).toContain("libstdc++.so.6(GLIBCXX_3.4.25)(64bit)");
    expect(compare(libstdcxx, "3.4.25")).toBeLessThanOrEqual(0);
  });

  test("the distributions that the documentation names have what the package depends on", () => {
    const wanted = sh('dpkg-deb --field "$1" Depends', files.deb)
      .split(/[,|]/)
      .map((each) => /^(\S+)(?: \(>= (\S+)\))?$/.exec(each.trim()) ?? []);
    const chapter =
      /^### Debian and Ubuntu\n(.*?)^## /ms.exec(readFileSync(join(root, "docs/installing.md"), "utf8"))?.[1] ?? "";
    const rows = chapter.split("\n").filter((line) => line.startsWith("| "));
    const [heading = [], ...systems] = rows.map((row) =>
      row
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
    expect(systems.map(([name, ...cells]) => `${name}: ${cells.at(-1)}`)).toEqual([
      ...["Debian 12 bookworm: yes", "Debian 13 trixie: yes", "Ubuntu 22.04 jammy: no", "Ubuntu 24.04 noble: no"],
    ]);
    for (const [, name = "", floor = "0"] of wanted) {
      for (const system of systems) {
        expect(
          compare(system[heading.indexOf(name)] ?? "none", floor),
          `${name} of ${system[0]}`,
        ).toBeGreaterThanOrEqual(0);
      }
    }
  });

  test("the bill of materials names what is inside", () => {
    const read = (path: string) => readFileSync(join(home, path), "utf8");
    const { metadata, components } = JSON.parse(read("sbom.cdx.json")) as Bill;
    expect(`${metadata.component.version}\n`).toBe(read("VERSION"));
    const names = components.map(({ name }) => name);
    const native = [`@koromix/koffi-linux-${architecture.node}`, `node-linux-${architecture.node}`];
    // It may name more: a package of which nothing is left in the bundle.
    expect(names).toEqual(expect.arrayContaining([...bundledNames(), ...native]));
    expect(new Set(components.map((component) => component["bom-ref"])).size).toBe(components.length);
    const licences = read("THIRD-PARTY-LICENSES.txt");
    for (const { name, version } of components) expect(licences).toContain(`\n${name} ${version}: `);
    // Node's own program knows where its sources are.
    const node = components.find(({ name }) => name === `node-linux-${architecture.node}`)?.version;
    expect(node).toBe(pinnedNodeVersion());
    expect(readFileSync(join(home, "node/bin/node")).includes(`/v${node}/node-v${node}.tar.gz`)).toBe(true);
  });
});

test("the programs of arm64's packages start, under emulation", { timeout: 10 * DEADLINE_MS }, async () => {
  const arm64 = architectures.find(({ name }) => name === "arm64");
  if (arm64 === undefined) throw new Error("there is no arm64");
  // The image's files are the libraries of a system for arm64.
  const system = join(mkdtempSync(join(tmpdir(), "arm64-")), "system");
  writeImageFiles(system, arm64, "1.0.0");
  for (const form of forms) {
    const home = join(unpacked(form, await makePackage(form, "1.0.0", { machine: "arm64" })), homeIn[form]);
    const emulated = join(home, "emulated-node");
    writeFileSync(emulated, `#!/bin/sh\nexec qemu-aarch64-static -L ${system} ${home}/node/bin/node "$@"\n`);
    chmodSync(emulated, 0o755);
    const start = (name: string, ...args: readonly string[]) =>
      run([join(home, "bin", name), ...args], {
        env: { FLANNEL_NODE: emulated },
        timeoutMs: 3 * DEADLINE_MS,
      });
    for (const daemon of ["flanneld", "flannel-store"]) {
      expect(await start(daemon, "--version"), `${form} ${daemon}`).toContain(version);
    }
    // It asks the kernel through koffi.
    expect(await start("flannelctl", "version"), form).toContain("linux-arm64");
  }
});

test.each(forms)(
  "two builds make the same bytes, as they are published: .%s",
  { timeout: 20 * DEADLINE_MS },
  async (form) => {
    const [first, second] = await Promise.all([1, 2].map(() => makePackage(form, "1.0.0", { isSmall: true })));
    expect(readFileSync(first ?? "").equals(readFileSync(second ?? ""))).toBe(true);
    await run(["sh", "-euc", `cd ${dirname(second ?? "")} && sha256sum --check --quiet SHA256SUMS`]);
  },
);
