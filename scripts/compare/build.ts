// Builds of this checkout and of another revision, each a directory with bin/, dist/ and deploy/ as users have them.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CommandError, run, tryRun } from "../../lab/command.ts";
import { CompareUsageError } from "./options.ts";

export interface Build {
  /** How it is called in messages and in .cache/compare. */
  readonly name: "base" | "new";
  readonly directory: string;
}

export interface Builds {
  readonly base: Build;
  readonly new: Build;
}

const checkout = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
export const cacheDirectory = join(checkout, ".cache");
/** Compiling every package of a changed lock file is slow on small machines. */
const BUILD_TIMEOUT_MS = 300_000;

/** The checkout as it is; set-up has built it before this script started. */
export const newBuild: Build = { name: "new", directory: checkout };

/** Builds the revision, or finds it built. Throws CompareUsageError when git does not know this revision. */
export async function buildBase(revision: string): Promise<Build> {
  const found = await tryRun(["git", "-C", checkout, "rev-parse", "--verify", "--quiet", `${revision}^{commit}`]);
  if (found.exitCode !== 0) throw new CompareUsageError(`--base=${revision}: git does not know this revision.`);
  const sha = found.stdout.trim();
  const directory = join(cacheDirectory, "builds", sha);
  // The stamp is the last file that a build writes.
  if (!existsSync(join(directory, "dist/build-stamp"))) {
    rmSync(directory, { recursive: true, force: true });
    await unpack(sha, directory);
    await build(directory);
  }
  return { name: "base", directory };
}

/** An archive, not a worktree of git: nothing is left in the repository when the directory is removed. */
async function unpack(sha: string, directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const archive = join(directory, ".archive.tar");
  await run(["git", "-C", checkout, "archive", `--output=${archive}`, sha]);
  await run(["tar", "-xf", archive, "-C", directory]);
  rmSync(archive);
}

async function build(directory: string): Promise<void> {
  const lock = (root: string) => readFileSync(join(root, "package-lock.json"), "utf8");
  const options = { timeoutMs: BUILD_TIMEOUT_MS };
  try {
    if (lock(directory) === lock(checkout)) {
      symlinkSync(join(checkout, "node_modules"), join(directory, "node_modules"));
      await run([process.execPath, join(directory, "scripts/build.ts")], options);
      return;
    }
    shareNodes(directory);
    await run(["sh", join(directory, "scripts/setup.sh"), "tools"], options);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    throw new Error(`the base could not be built in ${directory}: ${error.message}`, { cause: error });
  }
}

/** Its own npm packages, but no second download of Node. */
function shareNodes(directory: string): void {
  mkdirSync(join(directory, ".cache"));
  for (const name of readdirSync(cacheDirectory).filter((entry) => entry.startsWith("node-"))) {
    symlinkSync(join(cacheDirectory, name), join(directory, ".cache", name));
  }
}
