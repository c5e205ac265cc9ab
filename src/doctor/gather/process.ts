// What the kernel tells of processes: the agent's limits and capabilities, who has a UDP port, whether a network manager runs.
import { closeSync, openSync, readdirSync, readlinkSync, statfsSync } from "node:fs";
import { describeError } from "../../errors.ts";
import { readFileOrEmpty } from "../../sys/files.ts";
import type { ProcessFacts } from "../agent-facts.ts";
import type { DiskFact } from "../host-facts.ts";

/** linux/capability.h */
const neededCapabilities = [
  ["CAP_NET_ADMIN", 12n],
  ["CAP_NET_RAW", 13n],
] as const;
const MAX_PROCESSES = 20_000;

/** Undefined when there is no such process, or it cannot be looked at. */
export function readProcess(pid: number): ProcessFacts | undefined {
  const status = readFileOrEmpty(`/proc/${pid}/status`);
  if (status === "") return undefined;
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "ffffffffffffffff"}`);
  const usedDescriptors = listOrUndefined(`/proc/${pid}/fd`)?.length;
  const limit = /^Max open files\s+(\d+)/m.exec(readFileOrEmpty(`/proc/${pid}/limits`))?.[1];
  return {
    pid,
    missingCapabilities: neededCapabilities.filter(([, bit]) => ((effective >> bit) & 1n) === 0n).map(([name]) => name),
    isSysReadOnly: isReadOnly(readFileOrEmpty(`/proc/${pid}/mountinfo`), "/proc/sys"),
    ...(usedDescriptors !== undefined && { usedDescriptors }),
    ...(limit !== undefined && { maxDescriptors: Number(limit) }),
    ...controlGroup(pid),
  };
}

/** `36 35 0:5 / /proc/sys ro,relatime - proc proc rw`: the last mount at a place counts. */
function isReadOnly(mounts: string, place: string): boolean {
  const options = mounts
    .split("\n")
    .map((line) => line.split(" "))
    .filter((fields) => fields[4] === place)
    .at(-1)?.[5];
  return options?.split(",").includes("ro") === true;
}

/** Version 2 alone; the agent's own group, as far as it has limits. */
function controlGroup(pid: number): Partial<ProcessFacts> {
  const path = /^0::(\/.*)$/m.exec(readFileOrEmpty(`/proc/${pid}/cgroup`))?.[1];
  if (path === undefined) return {};
  const read = (file: string) => readFileOrEmpty(`/sys/fs/cgroup${path}/${file}`).trim();
  const number = (file: string) => (/^\d+$/.test(read(file)) ? Number(read(file)) : undefined);
  const [usedBytes, maxBytes] = [number("memory.current"), number("memory.max")];
  const [used, max] = [number("pids.current"), number("pids.max")];
  const kills = /^oom_kill (\d+)/m.exec(read("memory.events"))?.[1];
  return {
    ...(usedBytes !== undefined && maxBytes !== undefined && { memory: { usedBytes, maxBytes } }),
    ...(used !== undefined && max !== undefined && { tasks: { used, max } }),
    ...(kills !== undefined && { outOfMemoryKills: Number(kills) }),
  };
}

function listOrUndefined(path: string): readonly string[] | undefined {
  try {
    return readdirSync(path);
  } catch {
    return undefined;
  }
}

interface Process {
  readonly pid: number;
  readonly program: string;
}

function processes(): Process[] {
  return (listOrUndefined("/proc") ?? [])
    .filter((name) => /^\d+$/.test(name))
    .slice(0, MAX_PROCESSES)
    .map((name) => ({ pid: Number(name), program: readFileOrEmpty(`/proc/${name}/comm`).trim() }));
}

export function readNetworkManager(): string | undefined {
  const programs = new Set(processes().map(({ program }) => program));
  if (programs.has("NetworkManager")) return "NetworkManager";
  // The kernel keeps fifteen characters.
  return programs.has("systemd-network") ? "systemd-networkd" : undefined;
}

/** Value of `--bip`, of the running dockerd or in the options that mk-docker-opts wrote. */
export function readDockerBip(): string | undefined {
  const dockerd = processes().find(({ program }) => program === "dockerd");
  const commandLine =
    dockerd === undefined ? "" : readFileOrEmpty(`/proc/${dockerd.pid}/cmdline`).replaceAll("\0", " ");
  const texts = [commandLine, ...["/run/docker_opts.env", "/run/flannel/docker"].map(readFileOrEmpty)];
  return texts.map((text) => /--bip[= ]"?([0-9./]+)/.exec(text)?.[1]).find((found) => found !== undefined);
}

/** `python3 (pid 12)`: the program that has the port, of this namespace; the kernel's own sockets have none. */
export function readPortHolder(port: number, except: ReadonlySet<string>): string | undefined {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const inodes = new Set(
    ["/proc/net/udp", "/proc/net/udp6"].flatMap((file) =>
      readFileOrEmpty(file)
        .split("\n")
        .map((line) => line.trim().split(/\s+/))
        .filter((fields) => fields[1]?.endsWith(`:${hex}`) === true && fields[9] !== "0")
        .map((fields) => `socket:[${fields[9]}]`),
    ),
  );
  if (inodes.size === 0) return undefined;
  for (const { pid, program } of processes()) {
    if (except.has(program) || except.has(String(pid))) continue;
    for (const fd of listOrUndefined(`/proc/${pid}/fd`) ?? []) {
      if (inodes.has(linkOrEmpty(`/proc/${pid}/fd/${fd}`))) return `${program} (pid ${pid})`;
    }
  }
  return undefined;
}

function linkOrEmpty(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

/** Why a TUN device cannot be made; opening alone makes none. */
export function readTunRefusal(): string | undefined {
  try {
    closeSync(openSync("/dev/net/tun", "r+"));
    return undefined;
  } catch (error) {
    return `/dev/net/tun cannot be opened: ${describeError(error)}`;
  }
}

/** Of those directories that exist. */
export function readDisks(directories: readonly (readonly [path: string, holds: string])[]): DiskFact[] {
  return directories.flatMap(([path, holds]) => {
    try {
      const { bavail, bsize, ffree, files } = statfsSync(path);
      return [{ path, holds, freeBytes: bavail * bsize, ...(files > 0 && { freeInodes: ffree }) }];
    } catch {
      return [];
    }
  });
}
