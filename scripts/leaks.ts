// What tests may leave behind on the machine: namespaces, links, mounts, processes, control groups. Taken before and after a run.
import { execFileSync } from "node:child_process";
import { globSync, readdirSync, readFileSync } from "node:fs";

/** Everything that a test starts inherits this variable, so that its processes are known among all others. */
export const runMarker = "FLANNEL_TEST_RUN";

function namesOf(argv: readonly string[]): string[] {
  const [command = "", ...args] = argv;
  const json = execFileSync(command, args, { encoding: "utf8" });
  const entries: { name?: string; ifname?: string }[] = json.trim() === "" ? [] : JSON.parse(json);
  return entries.map((entry) => entry.name ?? entry.ifname ?? "");
}

function mountPoints(): string[] {
  const lines = readFileSync("/proc/self/mounts", "utf8").trimEnd().split("\n");
  return lines.map((line) => line.split(" ", 2).join(" on "));
}

function markedProcesses(runId: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, "utf8").includes(`${runMarker}=${runId}\0`)) return [];
        return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim()}`];
      } catch {
        // Ended while we looked.
        return [];
      }
    });
}

/** Those of the lab's Kubernetes nodes: boxes have none of their own. */
function controlGroups(runId: string): string[] {
  return globSync(`/sys/fs/cgroup/{,*/}flannel-lab-${runId}-*`);
}

/** One line for each thing that is there now. Needs root. */
export function takeInventory(runId: string): ReadonlySet<string> {
  return new Set([
    ...namesOf(["ip", "-j", "netns", "list"]).map((name) => `network namespace ${name}`),
    ...namesOf(["ip", "-j", "link"]).map((name) => `link ${name}`),
    ...mountPoints().map((mount) => `mount ${mount}`),
    ...controlGroups(runId).map((path) => `control group ${path}`),
    ...markedProcesses(runId).map((line) => `process ${line}`),
  ]);
}
