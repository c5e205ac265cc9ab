// The control groups of the lab's Kubernetes nodes. They are the machine's, not the box's: named by the run of the tests
// and by the box's network namespace, which no other box has at the same time, and removed at the end.
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { copyFile, mkdir, readdir, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runMarker } from "../../scripts/leaks.ts";
import { until } from "../wait.ts";

const top = "/sys/fs/cgroup";
const box = /\d+/.exec(readlinkSync("/proc/self/ns/net"))?.[0] ?? "";
const root = `flannel-lab-${process.env[runMarker] ?? "0"}-${box}`;

/** For the kubelet's `cgroupRoot`. */
export function cgroupOfNode(node: string): string {
  return `/${root}/${node}`;
}

/** Makes the groups that a kubelet expects to find; it ends itself without them. */
export async function makeCgroups(node: string): Promise<void> {
  if (existsSync(join(top, "cgroup.controllers"))) {
    for (const parent of [top, join(top, root)]) {
      await mkdir(parent, { recursive: true });
      await writeFile(join(parent, "cgroup.subtree_control"), "+cpu +cpuset +memory +pids");
    }
    await mkdir(join(top, root, node), { recursive: true });
    return;
  }
  for (const hierarchy of hierarchies()) {
    for (const group of [root, `${root}/${node}`]) {
      const directory = join(hierarchy, group);
      await mkdir(directory, { recursive: true });
      // A set without processors takes no process.
      if (!existsSync(join(directory, "cpuset.cpus"))) continue;
      for (const file of ["cpuset.cpus", "cpuset.mems"])
        await copyFile(join(directory, "..", file), join(directory, file));
    }
  }
}

/** When the node's processes have been killed. Groups of processes that are about to end are waited for. */
export async function removeCgroups(node: string): Promise<void> {
  for (const hierarchy of [top, ...hierarchies()]) {
    const directory = join(hierarchy, root, node);
    await until(() => removeTree(directory).then(() => true), { what: `${directory} to be empty` });
    // The last node takes the common parent along.
    await rmdir(join(hierarchy, root)).catch(() => undefined);
  }
}

/** The mount points of the controllers; with version 2 there are none. */
function hierarchies(): readonly string[] {
  const entries = readdirSync(top, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory() && existsSync(join(top, entry.name, "cgroup.procs")))
    .filter((entry) => existsSync(join(top, entry.name, "release_agent")) || entry.name === "unified")
    .map((entry) => join(top, entry.name));
}

async function removeTree(directory: string): Promise<void> {
  if (!existsSync(directory)) return;
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeTree(join(directory, entry.name));
  }
  await rmdir(directory);
}
