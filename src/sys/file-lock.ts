// One holder at a time, across processes: flock(2) on a file that also tells who holds it. The kernel frees the lock
// when the holder dies, however it dies.
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { FlannelError } from "../errors.ts";
import { errnos, fromErrno } from "./errno.ts";
import { flock, settled } from "./libc.ts";

const LOCK_EX = 2;
const LOCK_NB = 4;

export class FileLock implements Disposable {
  readonly path: string;
  #fd: number | undefined;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  /**
   * Takes the lock, creating `path` (mode 0600; its directory must exist), or throws `AGENT_RUNNING` with
   * `details.pid` (undefined when the holder has not written it yet), or `FILE_FAILED`.
   */
  static acquire(path: string): FileLock {
    for (;;) {
      const fd = openLockFile(path);
      try {
        lock(path, fd);
        // The file may have been removed between open and flock: a lock on it would exclude nobody.
        if (isFileAt(path, fd)) {
          tryWritePid(fd);
          return new FileLock(path, fd);
        }
      } catch (error) {
        closeSync(fd);
        throw error;
      }
      closeSync(fd);
    }
  }

  /**
   * Restores the lock file when it was removed or replaced: a lock on it excluded no other process. True when that was
   * necessary. Throws `AGENT_RUNNING` when another process has taken the lock meanwhile, else `FILE_FAILED`.
   */
  renew(): boolean {
    const fd = this.#fd;
    if (fd === undefined || isStillAt(this.path, fd)) return false;
    const fresh = FileLock.acquire(this.path);
    this.#fd = fresh.#fd;
    fresh.#fd = undefined;
    closeSync(fd);
    return true;
  }

  /** Safe in this order: who waits for a lock file that was removed makes a new one. Another's file in its place stays. */
  removeAndFree(): void {
    if (this.#fd !== undefined && isSurelyAt(this.path, this.#fd)) rmSync(this.path, { force: true });
    this[Symbol.dispose]();
  }

  /** Frees the lock. The file stays. */
  [Symbol.dispose](): void {
    const fd = this.#fd;
    if (fd === undefined) return;
    this.#fd = undefined;
    ftruncateSync(fd, 0);
    closeSync(fd);
  }
}

/** The lock holds without it, so a full disk must not stop the agent. */
function tryWritePid(fd: number): void {
  try {
    ftruncateSync(fd, 0);
    writeSync(fd, `${process.pid}\n`, 0);
  } catch {
    // A second agent then says that the file is locked, but not by whom.
  }
}

function readPid(path: string): number | undefined {
  try {
    const text = readFileSync(path, "utf8").trim();
    return /^[1-9]\d*$/.test(text) ? Number(text) : undefined;
  } catch {
    return undefined;
  }
}

function openLockFile(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch (cause) {
    throw new FlannelError("FILE_FAILED", `cannot open the lock file ${path}`, { cause });
  }
}

function lock(path: string, fd: number): void {
  const call = (): number => flock(fd, LOCK_EX | LOCK_NB);
  const result = settled(call(), [errnos.EWOULDBLOCK], call);
  if (result >= 0) return;
  if (result !== -errnos.EWOULDBLOCK) throw fromErrno(`lock ${path}`, -result);
  const details = { path, pid: readPid(path) };
  const message = `${path} is locked by another agent${holderText(details)}; stop that agent first`;
  throw new FlannelError("AGENT_RUNNING", message, { details });
}

/** What cannot be looked at may still be there. */
function isStillAt(path: string, fd: number): boolean {
  try {
    return isFileAt(path, fd);
  } catch {
    return true;
  }
}

/** What cannot be looked at may be another's. */
function isSurelyAt(path: string, fd: number): boolean {
  try {
    return isFileAt(path, fd);
  } catch {
    return false;
  }
}

function isFileAt(path: string, fd: number): boolean {
  const ours = fstatSync(fd);
  const current = statSync(path, { throwIfNoEntry: false });
  return current !== undefined && current.ino === ours.ino && current.dev === ours.dev;
}

/** ` (pid 123)` for a message about a lock that is taken, from the details of its error; empty while the pid is unknown. */
export function holderText({ pid }: Readonly<Record<string, unknown>>): string {
  return pid === undefined ? "" : ` (pid ${String(pid)})`;
}
