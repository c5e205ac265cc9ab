// Why the process that listens on a control socket does not answer, as far as the kernel tells.
import { readdirSync, readlinkSync } from "node:fs";
import { readFileOrEmpty } from "../../../sys/files.ts";

export interface SilentAgent {
  /** Unknown without root, and for a process of another network or process namespace. */
  readonly pid?: number;
  /** It cannot answer until it is resumed: the clause says how. */
  readonly stopped?: string;
}

export function describeSilence(socketPath: string): SilentAgent {
  const inode = listeningInode(socketPath);
  const pid = inode === undefined ? undefined : holderOf(inode);
  if (pid === undefined) return {};
  const stopped = stoppedBy(pid);
  return { pid, ...(stopped !== undefined && { stopped }) };
}

/** Of /proc/net/unix: Num RefCount Protocol Flags Type St Inode Path; the flag is __SO_ACCEPTCON. */
function listeningInode(socketPath: string): string | undefined {
  for (const line of readFileOrEmpty("/proc/net/unix").split("\n")) {
    const [, , , flags = "", , , inode, ...path] = line.trim().split(/ +/);
    if ((Number.parseInt(flags, 16) & 0x1_0000) !== 0 && path.join(" ") === socketPath) return inode;
  }
  return undefined;
}

function holderOf(inode: string): number | undefined {
  for (const pid of listOrEmpty("/proc").filter((name) => /^\d+$/.test(name))) {
    const descriptors = listOrEmpty(`/proc/${pid}/fd`);
    if (descriptors.some((fd) => linkOrEmpty(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`)) return Number(pid);
  }
  return undefined;
}

function stoppedBy(pid: number): string | undefined {
  const [state] = readFileOrEmpty(`/proc/${pid}/stat`).replace(/^.*\) /s, "");
  if (state === "T") return `it is stopped by a signal: continue it with kill -CONT ${pid}`;
  if (state === "t") return "a debugger holds it: end the debugger, or let it go on";
  const group = /^0::(.+)$/m.exec(readFileOrEmpty(`/proc/${pid}/cgroup`))?.[1];
  if (group === undefined || !readFileOrEmpty(`/sys/fs/cgroup${group}/cgroup.events`).includes("frozen 1"))
    return undefined;
  return `its control group ${group} is frozen: thaw it with systemctl thaw or docker unpause`;
}

function listOrEmpty(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function linkOrEmpty(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
