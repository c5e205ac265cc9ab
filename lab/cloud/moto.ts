// moto, a stateful emulator of AWS's APIs: it stands for EC2 in the tests of aws-vpc. It is not AWS, and has no quotas,
// permissions or throttling; `ec2-front.ts` adds these.
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "../command.ts";
import { Daemon } from "../daemon.ts";
import { boxNamespace } from "../namespace.ts";

const requirements = fileURLToPath(new URL("requirements.txt", import.meta.url));

/** Kept outside the checkout, by content and version of Python: its packages hold compiled code. */
async function directoryOfMoto(): Promise<string> {
  const python = (await run(["python3", "-c", "import sys; print(sys.implementation.cache_tag)"])).trim();
  const hash = createHash("sha256").update(readFileSync(requirements)).digest("hex").slice(0, 12);
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(cache, "flannel-lab", `moto-${python}-${hash}`);
}

/** The first time on a machine it needs the network: 115 MB on disk, about a minute. */
export async function installMoto(): Promise<void> {
  const finished = await directoryOfMoto();
  if (existsSync(finished)) return;
  await mkdir(dirname(finished), { recursive: true });
  const temporary = await mkdtemp(`${finished}-`);
  try {
    const quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--no-deps"];
    await run(["python3", "-m", "pip", "install", ...quiet, "--target", temporary, "-r", requirements], {
      timeoutMs: 900_000,
    });
    await rename(temporary, finished).catch((error: unknown) => {
      if (!existsSync(finished)) throw error; // another run was faster
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Serves on loopback of the box; `installMoto` has to have run outside of it. */
export async function startMoto(port: number): Promise<{ readonly url: string } & AsyncDisposable> {
  const packages = await directoryOfMoto();
  const argv = ["env", `PYTHONPATH=${packages}`, "python3", "-m", "moto.server", "-H", "127.0.0.1", "-p", String(port)];
  const daemon = new Daemon("moto", boxNamespace, argv);
  const url = `http://127.0.0.1:${port}`;
  daemon.start();
  try {
    await daemon.until("moto answers", async () => (await fetch(`${url}/moto-api/`)).ok);
  } catch (error) {
    await daemon[Symbol.asyncDispose]();
    throw error;
  }
  return { url, [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose]() };
}
