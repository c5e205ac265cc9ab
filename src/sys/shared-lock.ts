// The lock file of another program, held for a moment: flock(2), as that program takes it.
import { closeSync, constants, openSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { FlannelError } from "../errors.ts";
import { errnos, fromErrno } from "./errno.ts";
import { flock, settled } from "./libc.ts";

const LOCK_EX = 2;
const LOCK_NB = 4;
const RETRY_MS = 20;
/** Holders need milliseconds. */
const WITHIN_MS = 5_000;

/**
 * Runs `work`, which must be synchronous and short, while it holds the lock. The file is made if it is missing, its
 * directory must exist. Throws `FILE_FAILED` (retryable) when another holds it for seconds, and what `work` throws.
 */
export async function withSharedLock<T>(path: string, work: () => T): Promise<T> {
  const fd = openLockFile(path);
  try {
    const endMs = performance.now() + WITHIN_MS;
    while (!tryLock(path, fd)) {
      if (performance.now() > endMs) {
        const message = `another program has held the lock ${path} for ${WITHIN_MS / 1_000} s`;
        throw new FlannelError("FILE_FAILED", message, { retryable: true });
      }
      await delay(RETRY_MS);
    }
    return work();
  } finally {
    closeSync(fd); // frees the lock
  }
}

function openLockFile(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (cause) {
    throw new FlannelError("FILE_FAILED", `cannot open the lock file ${path}`, { cause });
  }
}

/** False when another holds it. */
function tryLock(path: string, fd: number): boolean {
  const call = (): number => flock(fd, LOCK_EX | LOCK_NB);
  const result = settled(call(), [errnos.EWOULDBLOCK], call);
  if (result >= 0) return true;
  if (result === -errnos.EWOULDBLOCK) return false;
  throw fromErrno(`lock ${path}`, -result);
}
