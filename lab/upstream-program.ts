// Upstream's flannel itself, built from its Go module, once for each machine: for measurements beside ours.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { run } from "./command.ts";

export const upstreamVersion = "v0.28.9";

const timeoutMs = 1_200_000;

/** Where it is, or would be. */
export function upstreamProgram(): string {
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(cache, "flannel-lab", `upstream-${upstreamVersion}`, "flannel");
}

/** Some minutes when it is missing. Rejects without Go, a C compiler or a way to its modules. */
export async function buildUpstream(): Promise<void> {
  const program = upstreamProgram();
  if (existsSync(program)) return;
  const cache = dirname(dirname(program));
  await mkdir(cache, { recursive: true });
  const directory = await mkdtemp(join(cache, "upstream-build-"));
  try {
    const source = join(directory, "source");
    const module = `github.com/flannel-io/flannel@${upstreamVersion}`;
    const found = JSON.parse(await run(["go", "mod", "download", "-json", module], { timeoutMs })) as { Dir: string };
    // Go's cache is read-only.
    await run(["cp", "-r", "--no-preserve=mode", found.Dir, source]);
    await leaveOutTencent(join(source, "main.go"));
    // udp is written in C.
    const env = { CGO_ENABLED: "1", GOWORK: "off", GOFLAGS: "-mod=mod -buildvcs=false" };
    await run(["go", "-C", source, "build", "-ldflags=-s -w", "-o", join(directory, "flannel"), "."], {
      env,
      timeoutMs,
    });
    await rm(source, { recursive: true });
    await rename(directory, dirname(program));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Its cloud's library is withdrawn from the module proxy now and then, and nothing here needs it. */
async function leaveOutTencent(mainFile: string): Promise<void> {
  const text = await readFile(mainFile, "utf8");
  await writeFile(mainFile, text.replace(/^.*pkg\/backend\/tencentvpc"\n/m, ""));
}
