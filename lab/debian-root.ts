// A whole Debian in a directory, made by debootstrap from where this machine has its own packages, once for each release;
// kept outside the checkout.
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { run } from "./command.ts";

/** 12 and 13. */
export const debianReleases = ["bookworm", "trixie"] as const;

/** What flannel's package needs, and a systemd that runs it. */
const packages = [
  "systemd",
  "systemd-sysv",
  "dbus",
  "iproute2",
  "iptables",
  "nftables",
  "kmod",
  "libstdc++6",
  "procps",
];

/** Nothing may be changed in it. The first time it takes a minute or two, and needs the network of the machine. */
export async function debianRoot(release: (typeof debianReleases)[number]): Promise<string> {
  const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "flannel-lab");
  const directory = join(cache, `${release}-1`);
  if (existsSync(directory)) return directory;
  mkdirSync(cache, { recursive: true });
  const unfinished = `${directory}.${process.pid}`;
  const options = ["--variant=minbase", `--include=${packages.join(",")}`];
  try {
    await run(["debootstrap", ...options, release, unfinished, await debianMirror()], { timeoutMs: 900_000 });
    await run(["rm", "-rf", `${unfinished}/var/cache/apt/archives`, `${unfinished}/var/lib/apt/lists`]);
    renameSync(unfinished, directory);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    throw error;
  }
  return directory;
}

async function debianMirror(): Promise<string> {
  const targets = await run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN)", "Created-By: Packages"]);
  const mirror = /^(\S+) Debian$/m.exec(targets)?.[1];
  if (mirror === undefined) throw new Error("apt-get names no source of Debian packages on this machine");
  return mirror;
}
