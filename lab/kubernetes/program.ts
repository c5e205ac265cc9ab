// Kubernetes itself, for the lab: one program for all its parts, built from their Go modules when it is missing, once
// for each machine and version. It is kept outside the checkout, since a build takes minutes.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, symlink } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "../command.ts";

const programs = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"];

export type KubernetesProgram = "apiserver" | "controller-manager" | "scheduler" | "proxy" | "kubelet" | "kubectl";

const source = fileURLToPath(new URL("program/", import.meta.url));
const progressEveryMs = 15_000;
/** Reading all sources for the first time takes minutes on a slow disk, longer than other commands may. */
const countTimeoutMs = 600_000;

/** Told what goes on during a build: a sentence now and then. */
type Progress = (message: string) => void;

/** The program's path. It has to be there: `npm test` builds it before it starts the tests that need it. */
export function kubernetesProgram(name: KubernetesProgram): string {
  const path = join(directoryOfPrograms(), name === "kubelet" || name === "kubectl" ? name : `kube-${name}`);
  if (existsSync(path)) return path;
  throw new Error(`${path} is missing: npm test -- kube builds Kubernetes before it starts the tests`);
}

/** Builds Kubernetes unless this machine has it: some ten minutes of two processors, 100 MB to download. */
export async function buildKubernetes(say: Progress): Promise<void> {
  const finished = directoryOfPrograms();
  if (existsSync(finished)) return;
  await requireGo();
  const cache = dirname(finished);
  await mkdir(cache, { recursive: true });
  await using _lock = await BuildLock.take(join(cache, "kubernetes.lock"), say);
  // Someone else may have built it while we waited.
  if (existsSync(finished)) return;
  const started = performance.now();
  const directory = await mkdtemp(join(cache, "kubernetes-build-"));
  try {
    await compile(join(directory, "kubernetes"), join(cache, "kubernetes-go-build"), say);
    for (const name of programs) await symlink("kubernetes", join(directory, name));
    await rename(directory, finished);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  // 3 GB that only another build would use. One that was broken off goes on with what it has.
  await rm(join(cache, "kubernetes-go-build"), { recursive: true, force: true });
  say(`built Kubernetes ${version()} in ${((performance.now() - started) / 60_000).toFixed(1)} minutes`);
}

/** Named by version and content, so that a change of either builds anew. */
function directoryOfPrograms(): string {
  const hash = createHash("sha256").update(process.arch);
  for (const file of ["go.mod", "go.sum", "main.go"])
    hash.update(`\n${file}\n`).update(readFileSync(join(source, file)));
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(cache, "flannel-lab", `kubernetes-${version()}-${hash.digest("hex").slice(0, 12)}`);
}

function version(): string {
  const found = /^\s*k8s\.io\/kubernetes (v\S+)$/m.exec(readFileSync(join(source, "go.mod"), "utf8"))?.[1];
  if (found === undefined) throw new Error(`${source}go.mod requires no version of k8s.io/kubernetes`);
  return found;
}

async function requireGo(): Promise<void> {
  try {
    await run(["go", "env", "GOVERSION"]);
  } catch (error) {
    throw new Error(
      "the tests on Kubernetes build it from its Go modules, and there is no go: install Go 1.26 or newer (https://go.dev/dl), or run the other areas by their names",
      { cause: error },
    );
  }
}

async function compile(output: string, goCache: string, say: Progress): Promise<void> {
  // A go.work above this checkout is about other modules.
  const settings = { CGO_ENABLED: "0", GOCACHE: goCache, GOFLAGS: "-mod=readonly -buildvcs=false", GOWORK: "off" };
  const env = { ...process.env, ...settings };
  say(`fetching the Go modules of Kubernetes ${version()}`);
  await follow(spawn("go", ["mod", "download"], { cwd: source, env, stdio: ["ignore", "ignore", "pipe"] }), () => {});
  const list = await run(["go", "-C", source, "list", "-deps", "."], { env: settings, timeoutMs: countTimeoutMs });
  const packages = list.trimEnd().split("\n").length;
  say(`building Kubernetes ${version()}, once on this machine: ${packages} packages, some ten minutes on two cores`);
  const linker = `-s -w -X k8s.io/component-base/version.gitVersion=${version()}`;
  const argv = ["build", "-v", "-trimpath", "-ldflags", linker, "-o", output, "."];
  let built = 0;
  const timer = setInterval(() => say(`built ${built} of ${packages} packages`), progressEveryMs);
  try {
    await follow(spawn("go", argv, { cwd: source, env, stdio: ["ignore", "ignore", "pipe"] }), (lines) => {
      built += lines;
    });
  } finally {
    clearInterval(timer);
  }
}

/** Settles with the program; `count` is told of each line it writes. The error has its last words. */
function follow(child: ChildProcess, count: (lines: number) => void): Promise<void> {
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    count(text.split("\n").length - 1);
    said = (said + text).slice(-3_000);
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`Kubernetes could not be built, ${child.spawnargs.slice(0, 2).join(" ")} said:\n${said}`));
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

  static async take(path: string, say: Progress): Promise<BuildLock> {
    const holder = spawn("flock", [path, "sh", "-c", "echo held; cat"], { stdio: ["pipe", "pipe", "inherit"] });
    const lock = new BuildLock(holder);
    const timer = setInterval(() => say("another run is building Kubernetes, waiting for it"), progressEveryMs);
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
