// Bundles the programs into dist/, the form that is shipped, tested in the lab and measured. `--if-stale` does nothing
// when dist/ was built from exactly the present sources; then it is fast.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Metafile, OutputFile, Plugin } from "esbuild";
import { awsClientAlias, smallAwsClient } from "./small-aws-client.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
const stampFile = join(dist, "build-stamp");
const programs = ["flanneld", "flannelctl", "flannel-store"];
/** Threads of a program, each loaded from its own file. */
const workers = { "tunnel-worker": "src/tunnel/tunnel-worker.ts" };
/** Of `flannelctl dashboard`: one file, for a browser. */
const page = { entry: "src/dashboard/main.tsx", frame: "src/dashboard/page.html", file: "dashboard.html" };
/** The launchers name this directory to Node as its compile cache. */
const compileCache = join(dist, "compile-cache");
/** What a bundle is made from besides src/. */
const otherInputs = ["package.json", "package-lock.json", "scripts/build.ts", "scripts/small-aws-client.ts"];

/** CommonJS packages inside an ES module bundle still call `require` for Node's own modules. */
const requireBanner =
  'import { createRequire as createRequireOfBundle } from "node:module"; const require = createRequireOfBundle(import.meta.url);';

function sourceFiles(): string[] {
  const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(tsx?|css|html)$/.test(name) && !name.endsWith(".test.ts"))
    .map((name) => join("src", name));
  return [...sources, ...otherInputs].sort();
}

/** The last commit that changed an input, so that other commits leave the bundle as it is; empty outside of a checkout. */
function commitOfSources(): string {
  const git = (...args: readonly string[]) =>
    execFileSync("git", ["-C", root, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    if (realpathSync(git("rev-parse", "--show-toplevel")) !== realpathSync(root)) return "";
    const inputs = ["--", "src", ...otherInputs];
    const commit = git("log", "-1", "--format=%h", "--abbrev=12", ...inputs);
    const isDirty = git("status", "--porcelain", ...inputs) !== "";
    return commit !== "" && isDirty ? `${commit}-dirty` : commit;
  } catch {
    return ""; // no git, or no checkout
  }
}

/** Changes with the name or content of any input, with the commit, and with the kind of machine. */
function stampOfSources(commit: string): string {
  const hash = createHash("sha256").update(`${process.platform} ${process.arch} ${libc()} ${commit}\n`);
  for (const name of sourceFiles()) {
    hash.update(`${name}\n`).update(
      createHash("sha256")
        .update(readFileSync(join(root, name)))
        .digest(),
    );
  }
  return `${hash.digest("hex")}\n`;
}

function stampOfBundle(): string {
  try {
    return readFileSync(stampFile, "utf8");
  } catch {
    return "";
  }
}

function libc(): "linux" | "musl" {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime === undefined ? "musl" : "linux";
}

/** The FFI library looks for its native part in many places; the bundle has it at one, beside itself. */
const nativeBesideBundle: Plugin = {
  name: "native-beside-bundle",
  setup(build) {
    build.onLoad({ filter: /koffi\/src\/koffi\/src\/static\.js$/ }, () => ({
      contents: 'export const loadStatic = () => require("./koffi.node");',
    }));
    build.onResolve({ filter: /^\.\/koffi\.node$/ }, ({ path }) => ({ path, external: true }));
  },
};

function nativeLibrary(): Uint8Array {
  const packageName = `@koromix/koffi-${process.platform}-${process.arch}`;
  const directory = dirname(createRequire(import.meta.resolve("koffi")).resolve(packageName));
  return readFileSync(join(directory, `${libc()}_${process.arch}`, "koffi.node"));
}

/** For licence texts and the bill of materials. koffi's native part is beside the bundle. */
const packagesFile = "packages.json";

async function bundle(
  commit: string,
): Promise<{ readonly files: readonly OutputFile[]; readonly inputs: Metafile["inputs"] }> {
  const { build } = await import("esbuild");
  const result = await build({
    absWorkingDir: root,
    entryPoints: { ...Object.fromEntries(programs.map((name) => [name, `src/cli/${name}.ts`])), ...workers },
    outdir: dist,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    chunkNames: "[name]-[hash]",
    format: "esm",
    platform: "node",
    target: "node22",
    define: { FLANNEL_COMMIT: JSON.stringify(commit) },
    banner: { js: requireBanner },
    alias: awsClientAlias,
    plugins: [nativeBesideBundle, smallAwsClient],
    minifyWhitespace: true,
    minifySyntax: true,
    sourcemap: "linked",
    sourcesContent: false,
    legalComments: "external",
    logLevel: "warning",
    metafile: true,
    write: false,
  });
  return { files: result.outputFiles, inputs: result.metafile.inputs };
}

/** Script and style stand in the page itself: nothing else has to be asked for, and the policy names both by their hash. */
async function bundlePage(): Promise<{ readonly html: Uint8Array; readonly inputs: Metafile["inputs"] }> {
  const { build } = await import("esbuild");
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: [page.entry],
    outdir: dist,
    bundle: true,
    format: "esm",
    platform: "browser",
    // Browsers of 2023.
    target: ["chrome111", "firefox115", "safari16.4"],
    jsx: "automatic",
    jsxImportSource: "preact",
    minify: true,
    legalComments: "none",
    charset: "utf8",
    logLevel: "warning",
    metafile: true,
    write: false,
  });
  const textOf = (extension: string) => outputFiles.find(({ path }) => path.endsWith(extension))?.text.trim() ?? "";
  const [script, style] = [textOf(".js"), textOf(".css")];
  if (/<\/?script|<!--/i.test(script) || /<\/?style/i.test(style))
    throw new Error("the page's script or style ends its element");
  const html = readFileSync(join(root, page.frame), "utf8")
    .replace("/*style*/", () => style)
    .replace("/*script*/", () => script);
  return { html: Buffer.from(html), inputs: metafile.inputs };
}

/** Directories below node_modules of all packages that something in the bundle comes from, as JSON. */
function packagesIn(inputs: Metafile["inputs"]): Uint8Array {
  const directories = Object.keys(inputs).flatMap(
    // A package may have others of its own in it.
    (path) => /^node_modules\/((?:.*\/node_modules\/)?(?:@[^/]+\/[^/]+|[^/]+))/.exec(path)?.[1] ?? [],
  );
  return Buffer.from(`${JSON.stringify([...new Set(directories)].sort())}\n`);
}

/** Each file appears whole or not at all, and what is no longer part of the bundle goes last: a program may be starting. */
function replaceDist(files: ReadonlyMap<string, Uint8Array>): void {
  mkdirSync(dist, { recursive: true });
  for (const [name, content] of files) {
    const temporary = join(dist, `.${name}.${process.pid}`);
    writeFileSync(temporary, content);
    renameSync(temporary, join(dist, name));
  }
  for (const name of readdirSync(dist)) {
    if (!files.has(name) && name !== basename(stampFile)) rmSync(join(dist, name), { recursive: true, force: true });
  }
}

/** Proves that each program starts, and leaves its compiled code in the cache for the next start. */
function startOnce(program: string): void {
  const env = { ...process.env, NODE_COMPILE_CACHE: compileCache };
  execFileSync(process.execPath, [join(dist, `${program}.mjs`), "--version"], {
    env,
    stdio: ["ignore", "ignore", "inherit"],
  });
}

async function main(): Promise<void> {
  const commit = commitOfSources();
  const stamp = stampOfSources(commit);
  if (process.argv.includes("--if-stale") && stampOfBundle() === stamp) {
    // The launchers compare times, not contents.
    writeFileSync(stampFile, stamp);
    return;
  }
  const started = performance.now();
  const [{ files: outputs, inputs }, forBrowsers] = await Promise.all([bundle(commit), bundlePage()]);
  const files = new Map(outputs.map((file) => [basename(file.path), file.contents]));
  files.set(page.file, forBrowsers.html);
  files.set(packagesFile, packagesIn({ ...inputs, ...forBrowsers.inputs }));
  files.set("koffi.node", nativeLibrary());
  replaceDist(files);
  try {
    for (const program of programs) startOnce(program);
  } catch (error) {
    rmSync(stampFile, { force: true });
    throw error;
  }
  writeFileSync(stampFile, stamp);
  console.log(`dist: built ${programs.join(", ")} in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

try {
  await main();
} catch (error) {
  // esbuild has said what is wrong, with the lines.
  if (!(error instanceof Error && "errors" in error)) throw error;
  process.exitCode = 1;
}
