// Who holds a lock on a file, as the kernel lists it.
import { readFileSync, statSync } from "node:fs";

export interface LockHolder {
  /** Missing when it is in another process namespace. */
  readonly pid?: number;
  readonly program?: string;
}

/** Undefined when nobody holds one, or when it is unknown. */
export function lockHolder(path: string): LockHolder | undefined {
  try {
    const { dev, ino } = statSync(path);
    const pid = holderIn(readFileSync("/proc/locks", "utf8"), dev, ino);
    if (pid === undefined) return undefined;
    return pid <= 0 ? {} : { pid, ...programOf(pid) };
  } catch {
    return undefined;
  }
}

/** The pid in a line of /proc/locks (fs/locks.c): `1: FLOCK  ADVISORY  WRITE 123 fe:00:456 0 EOF`; `->` only waits. */
export function holderIn(locks: string, dev: number, ino: number): number | undefined {
  // As the C library packs them: the major number in bits 8 to 19, the minor one around it.
  const [major, minor] = [(dev >>> 8) & 0xfff, (dev & 0xff) | ((dev >>> 12) & 0xfff00)];
  const hex = (value: number) => value.toString(16).padStart(2, "0");
  const where = `${hex(major)}:${hex(minor)}:${ino}`;
  for (const line of locks.split("\n")) {
    const [, kind, , , pid, place] = line.trim().split(/\s+/);
    if (kind !== "->" && place === where) return Number(pid);
  }
  return undefined;
}

/** `flock (pid 123)` */
export function holderName({ pid, program }: LockHolder): string {
  if (pid === undefined) return "a process in another namespace";
  return `${program ?? "a process"} (pid ${pid})`;
}

function programOf(pid: number): Pick<LockHolder, "program"> {
  try {
    return { program: readFileSync(`/proc/${pid}/comm`, "utf8").trim() };
  } catch {
    return {};
  }
}
