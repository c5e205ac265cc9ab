// Programs that the lab builds from Go modules when a machine lacks them, once for each machine and version. They are kept
// outside the checkout, since a build takes minutes.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, symlink } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { run } from "./command.ts";

export type GoTarget = Pick<GoProgram, "fileName" | "package" | "isTest">;

export interface GoProgram {
  /** For people: `Kubernetes`. */
  readonly name: string;
  /** The one file that is built, as the cache names it. */
  readonly fileName: string;
  /** Directory with go.mod and go.sum, which pin everything; ends with a slash. */
  readonly source: string;
  /** Files of `source` whose content decides what is built. */
  readonly files: readonly string[];
  /** Its required version is the program's. */
  readonly module: string;
  /** What is built: `.`, or the path of a package. */
  readonly package: string;
  /** Where the linker puts the version. */
  readonly versionVariable: string;
  /** Names that the program is called by besides. */
  readonly links: readonly string[];
  /** It is the program of a package's tests. */
  readonly isTest?: boolean;
  /** Others of the module, which are kept with it. */
  readonly besides?: readonly GoTarget[];
  /** What to expect: `some ten minutes on two cores`. */
  readonly duration: string;
}

/** Told what goes on during a build: a sentence now and then. */
export type Progress = (message: string) => void;

const progressEveryMs = 15_000;
/** Reading all sources for the first time takes minutes on a slow disk, longer than other commands may. */
const countTimeoutMs = 600_000;

/** Named by version and content, so that a change of either builds again. */
export function directoryOf({ fileName, source, files, ...program }: GoProgram): string {
  const hash = createHash("sha256").update(process.arch);
  for (const file of files) hash.update(`\n${file}\n`).update(readFileSync(join(source, file)));
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  const version = versionOf({ source, ...program });
  return join(cache, "flannel-lab", `${fileName}-${version}-${hash.digest("hex").slice(0, 12)}`);
}

/** Builds it unless this machine has it. Rejects without Go, or without a way to its modules. */
export async function buildGoProgram(program: GoProgram, say: Progress): Promise<void> {
  const finished = directoryOf(program);
  if (existsSync(finished)) return;
  await requireGo(program);
  const cache = dirname(finished);
  const { fileName, name } = program;
  await mkdir(cache, { recursive: true });
  await using _lock = await BuildLock.take(join(cache, `${fileName}.lock`), () =>
    say(`another run is building ${name}, waiting for it`),
  );
  // Someone else may have built it while we waited.
  if (existsSync(finished)) return;
  const started = performance.now();
  const unfinished = `${fileName}-build-`;
  // Of builds that were killed: we hold the lock.
  for (const entry of await readdir(cache))
    if (entry.startsWith(unfinished)) await rm(join(cache, entry), { recursive: true, force: true });
  const directory = await mkdtemp(join(cache, unfinished));
  const goCache = join(cache, `${fileName}-go-build`);
  try {
    await compile(program, directory, goCache, say);
    for (const link of program.links) await symlink(fileName, join(directory, link));
    await rename(directory, finished);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  // Gigabytes that only another build would use. One that was broken off goes on with what it has.
  await rm(goCache, { recursive: true, force: true });
  say(`built ${name} ${versionOf(program)} in ${((performance.now() - started) / 60_000).toFixed(1)} minutes`);
}

function versionOf({ source, module }: Pick<GoProgram, "source" | "module">): string {
  const lines = readFileSync(join(source, "go.mod"), "utf8").split("\n");
  const words = lines.map((line) =>
    line
      .replace(/^require /, "")
      .trim()
      .split(" "),
  );
  const found = words.find(([path, version]) => path === module && version?.startsWith("v"))?.[1];
  if (found === undefined) throw new Error(`${source}go.mod requires no version of ${module}`);
  return found;
}

async function requireGo({ name }: GoProgram): Promise<void> {
  try {
    await run(["go", "env", "GOVERSION"]);
  } catch (error) {
    throw new Error(
      `the tests on Kubernetes build ${name} from its Go modules, and there is no go: install Go 1.26.8 or newer (https://go.dev/dl), or run the other areas by their names`,
      { cause: error },
    );
  }
}

async function compile(program: GoProgram, directory: string, goCache: string, say: Progress): Promise<void> {
  const { name, source: cwd, besides = [] } = program;
  const version = versionOf(program);
  // A go.work above this checkout is about other modules.
  const settings = { CGO_ENABLED: "0", GOCACHE: goCache, GOFLAGS: "-mod=readonly -buildvcs=false", GOWORK: "off" };
  const env = { ...process.env, ...settings };
  const go = (argv: readonly string[], count: (lines: number) => void) =>
    follow(name, spawn("go", argv, { cwd, env, stdio: ["ignore", "ignore", "pipe"] }), count);
  say(`fetching the Go modules of ${name} ${version}`);
  await go(["mod", "download"], () => undefined);
  const list = await run(["go", "-C", cwd, "list", "-deps", program.package], {
    env: settings,
    timeoutMs: countTimeoutMs,
  });
  const packages = list.trimEnd().split("\n").length;
  say(`building ${name} ${version}, once on this machine: ${packages} packages, ${program.duration}`);
  const linker = `-s -w -X ${program.versionVariable}=${version}`;
  let built = 0;
  const timer = setInterval(() => say(`built ${built} of ${packages} packages`), progressEveryMs);
  try {
    for (const target of [...besides, program]) {
      // What the tests' own vet would find is not ours to mend.
      const command = target.isTest === true ? ["test", "-c", "-vet=off"] : ["build", "-v"];
      const output = join(directory, target.fileName);
      await go([...command, "-trimpath", "-ldflags", linker, "-o", output, target.package], (lines) => {
        built += lines;
      });
    }
  } finally {
    clearInterval(timer);
  }
}

/** Settles with the program; `count` is called for each line it writes. The error has its last words. */
function follow(name: string, child: ChildProcess, count: (lines: number) => void): Promise<void> {
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    count(text.split("\n").length - 1);
    said = (said + text).slice(-3_000);
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`${name} could not be built, ${child.spawnargs.slice(0, 2).join(" ")} said:\n${said}`));
    });
  });
}

/** flock(1) holds the lock for as long as its standard input is open, so it is gone with us. */
class BuildLock implements AsyncDisposable {
  readonly #holder: ChildProcess;
  /** Listens from the start: flock may have ended long before the build does. */
  readonly #closed: Promise<unknown>;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
    this.#closed = new Promise((resolve) => holder.once("close", resolve));
    // What is written to one that has ended is of no use to it.
    holder.stdin?.on("error", () => undefined);
  }

  /** `onWaiting` is called now and then while another process holds it. */
  static async take(path: string, onWaiting: () => void): Promise<BuildLock> {
    const holder = spawn("flock", [path, "sh", "-c", "echo held; cat"], { stdio: ["pipe", "pipe", "inherit"] });
    const lock = new BuildLock(holder);
    const timer = setInterval(onWaiting, progressEveryMs);
    try {
      await new Promise((resolve, reject) => {
        holder.stdout.once("data", resolve);
        holder.once("error", reject);
        holder.once("close", () => reject(new Error(`flock ${path} ended without the lock`)));
      });
    } finally {
      clearInterval(timer);
    }
    return lock;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#holder.stdin?.end();
    await this.#closed;
  }
}
