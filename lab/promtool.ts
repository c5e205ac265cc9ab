// Prometheus, and promtool, its own checker of metrics and rules, out of Debian's package `prometheus`. The package itself would
// start a server: so its file is fetched and unpacked, once for each machine and version, outside the checkout.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { run, tryRun } from "./command.ts";

const FETCH_TIMEOUT_MS = 300_000;
const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "flannel-lab");

const programs = ["promtool", "prometheus"] as const;
type Program = (typeof programs)[number];

/** What promtool says about `input` or files; rejects with that when it finds a fault. `fetchPrometheus` was there before. */
export async function promtool(argv: readonly string[], input = ""): Promise<string> {
  return await run([await prometheusProgram("promtool"), ...argv], { input });
}

/** Where it is. `fetchPrometheus` was there before. */
export async function prometheusProgram(name: Program): Promise<string> {
  return (await isInstalled()) ? name : pathOf(name, await debianVersion());
}

/** Needs the machine's network, unless it is there. Rejects where it cannot be had. */
export async function fetchPrometheus(): Promise<void> {
  if (await isInstalled()) return;
  const version = (await debianVersion()) ?? (await updatedDebianVersion());
  if (version === undefined) throw new Error("there is no promtool: install it (Debian: apt-get install prometheus)");
  if (programs.every((name) => existsSync(pathOf(name, version)))) return;
  await mkdir(cache, { recursive: true });
  const directory = await mkdtemp(join(cache, "promtool-fetch-"));
  const script = 'cd "$1" && apt-get download -q "prometheus=$2" && dpkg-deb -x prometheus_*.deb .';
  try {
    await run(["sh", "-c", script, "sh", directory, version], { timeoutMs: FETCH_TIMEOUT_MS });
    for (const name of programs) await rename(join(directory, "usr/bin", name), pathOf(name, version));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function pathOf(name: Program, version: string | undefined): string {
  return join(cache, `${name}-${version?.replaceAll(/[^\w.+~-]/g, "_")}`);
}

async function isInstalled(): Promise<boolean> {
  const versions = programs.map((name) => tryRun([name, "--version"]).catch(() => undefined));
  return (await Promise.all(versions)).every((result) => result?.exitCode === 0);
}

async function debianVersion(): Promise<string | undefined> {
  const policy = await run(["apt-cache", "policy", "prometheus"]);
  const version = /^ +Candidate: (\S+)$/m.exec(policy)?.[1];
  return version === "(none)" ? undefined : version;
}

async function updatedDebianVersion(): Promise<string | undefined> {
  await run(["apt-get", "update", "-q"], { timeoutMs: FETCH_TIMEOUT_MS });
  return await debianVersion();
}
