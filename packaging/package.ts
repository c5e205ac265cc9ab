// `npm run package`: makes what people install, for every machine, into dist-packages/. The same commit makes the same
// bytes.
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Architecture, architectures } from "./architecture.ts";
import { makeArchive } from "./archive.ts";
import { makeChart } from "./chart-package.ts";
import { packageVersion, root } from "./checkout.ts";
import { type Contents, type Output, packageContents, writeContents } from "./contents.ts";
import { makeDebianPackage } from "./debian-package.ts";
import { imageName, packageImage } from "./image/image.ts";
import { imageCommand, imageFileName } from "./image/image-command.ts";
import { makeRpmPackage } from "./rpm-package.ts";

/** Uses an empty directory and returns the one file that it makes. */
type Make = (contents: Contents, stage: string, out: Output) => string;

const forms: Readonly<Record<string, Make>> = {
  deb: makeDebianPackage,
  rpm: makeRpmPackage,
  tar: (contents, stage, out) => {
    writeContents(contents, stage);
    return makeArchive(contents, stage, out);
  },
  image: ({ version, architecture }, _stage, { directory, isFast }) => {
    const output = join(directory, imageFileName(version, architecture.name));
    packageImage({ name: imageName(version), output, isQuick: isFast, architecture, version });
    return output;
  },
};

/** Forms that are the same for every machine. */
const forAll: Readonly<Record<string, (version: string, directory: string) => readonly string[]>> = {
  chart: makeChart,
};
const formNames = [...Object.keys(forms), ...Object.keys(forAll)];

const usage = `Usage: npm run package -- [FORM]... [--arch amd64|arm64] [--out DIR] [--version TEXT]
       npm run package -- image --help

Makes packages for hosts, the container image and the Helm chart. FORM is ${formNames.join(", ")}; without one, all of them.

  --arch NAME     only for this machine; may be given several times (default: all)
  --out DIR       where the files go (default dist-packages)
  --version TEXT  version of the packages (default: from the git tag of the commit)
  --fast          with little compression or none: quick, and large
`;

interface Selection {
  readonly forms: readonly string[];
  readonly architectures: readonly Architecture[];
  readonly out: string;
  readonly version: string;
  readonly isFast: boolean;
}

/** Undefined when the help is wanted. Throws a sentence on wrong usage. */
function readSelection(args: readonly string[]): Selection | undefined {
  const options = {
    arch: { type: "string", multiple: true },
    out: { type: "string", default: join(root, "dist-packages") },
    version: { type: "string" },
    fast: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  } as const;
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
  if (values.help) return undefined;
  const unknown = positionals.find((form) => !formNames.includes(form));
  if (unknown !== undefined) throw new Error(`${unknown} is no form of package: choose of ${formNames.join(", ")}`);
  const names = architectures.map(({ name }) => name as string);
  const unknownArch = values.arch?.find((name) => !names.includes(name));
  if (unknownArch !== undefined) throw new Error(`--arch ${unknownArch}: choose of ${names.join(", ")}`);
  const version = values.version ?? packageVersion();
  if (!/^\d[A-Za-z0-9.+~]*$/.test(version)) throw new Error(`--version ${version}: digits, letters, dots, + and ~`);
  return {
    forms: positionals.length === 0 ? formNames : positionals,
    architectures: architectures.filter(({ name }) => values.arch?.includes(name) ?? true),
    out: resolve(values.out),
    version,
    isFast: values.fast,
  };
}

function makeAll({ forms: names, architectures: machines, out, version, isFast }: Selection): readonly string[] {
  mkdirSync(out, { recursive: true });
  const shared = names.flatMap((name) => forAll[name]?.(version, out) ?? []);
  for (const made of shared) console.log(made);
  const ofMachines = names.filter((name) => name in forms);
  const made = machines.flatMap((machine) => makeFor(machine, ofMachines, { out, version, isFast }));
  return [...shared, ...made];
}

function makeFor(
  machine: Architecture,
  names: readonly string[],
  { out, version, isFast }: Pick<Selection, "out" | "version" | "isFast">,
): readonly string[] {
  if (names.length === 0) return [];
  const contents = packageContents(machine, version);
  return names.map((name) => {
    const stage = mkdtempSync(join(root, ".cache/package-"));
    chmodSync(stage, 0o755); // a .deb has it as the mode of the host's root directory
    try {
      const started = performance.now();
      const made = forms[name]?.(contents, stage, { directory: out, isFast }) ?? "";
      const { length } = readFileSync(made);
      const seconds = ((performance.now() - started) / 1000).toFixed(0);
      console.log(`${made}  ${(length / 1e6).toFixed(1)} MB, ${seconds} s`);
      return made;
    } finally {
      rmSync(stage, { recursive: true, force: true });
    }
  });
}

/** As `sha256sum --check` reads it. */
function writeChecksums(files: readonly string[], out: string): void {
  const lines = files.map(
    (path) => `${createHash("sha256").update(readFileSync(path)).digest("hex")}  ${basename(path)}\n`,
  );
  writeFileSync(join(out, "SHA256SUMS"), lines.sort((a, b) => (a.slice(66) < b.slice(66) ? -1 : 1)).join(""));
}

function main(args: readonly string[]): number {
  if (args[0] === "image") return imageCommand(args.slice(1));
  let selection: Selection | undefined;
  try {
    selection = readSelection(args);
  } catch (error) {
    console.error(`package: ${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
  if (selection === undefined) {
    console.log(usage);
    return 0;
  }
  // Modes of files and directories are ours, whatever the caller's are.
  process.umask(0o022);
  writeChecksums(makeAll(selection), selection.out);
  return 0;
}

process.exitCode = main(process.argv.slice(2));
