// Small files of ours and their directories: written so that a reader, also after a crash, sees the old or the new content
// and never a part.
import { randomInt } from "node:crypto";
import { closeSync, constants, fstatSync, mkdirSync, openSync, readFileSync, rmdirSync, statSync } from "node:fs";
import { type FileHandle, lstat, open, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { FlannelError } from "../errors.ts";
import { withSpareDescriptors } from "./spare-descriptors.ts";

/**
 * Makes `path` contain `text`, durably, and creates missing directories (0755). An existing regular file keeps its
 * mode, a new one gets `mode` whatever the umask. Returns false when the content was already there.
 * Throws `FILE_FAILED` and leaves the old file as it was, without leftovers.
 */
export async function writeFileAtomically(path: string, text: string, mode = 0o644): Promise<boolean> {
  try {
    return await withSpareDescriptors(() => writeIfDifferent(path, text, mode));
  } catch (error) {
    throw new FlannelError("FILE_FAILED", `cannot write ${path}`, { cause: error, retryable: true });
  }
}

async function writeIfDifferent(path: string, text: string, mode: number): Promise<boolean> {
  const existing = await lstat(path).catch(() => undefined);
  const isRegular = existing?.isFile() === true;
  const mayBeSame = isRegular && existing.size === Buffer.byteLength(text);
  // Undefined where it was removed since, or cannot be read: it is written.
  const current = mayBeSame ? await readFile(path, "utf8").catch(() => undefined) : undefined;
  if (current === text) return false;
  ensureDirectory(dirname(path), 0o755);
  await replace(path, text, isRegular ? existing.mode & 0o7777 : mode);
  return true;
}

/**
 * Makes the directory and its parents with `mode` where they are missing; throws Node's error. Not mkdir's own
 * `recursive`: that never returns where a file system answers ENOENT although the parent is there (/proc; Node 24.21).
 */
export function ensureDirectory(path: string, mode: number): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  if (dirname(path) !== path) ensureDirectory(dirname(path), mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (!hasSystemCode(error, "EEXIST") || !statSync(path).isDirectory()) throw error;
  }
}

/** Leaves alone what others have files in. */
export function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Not empty, or not there.
  }
}

async function replace(path: string, text: string, mode: number): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, `.${basename(path)}${randomInt(2 ** 47)}`);
  const file = await open(temporary, "wx", 0o600);
  try {
    await fill(file, text, mode);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined); // the first error is the one to tell
    throw error;
  }
  await syncDirectory(directory);
}

async function fill(file: FileHandle, text: string, mode: number): Promise<void> {
  try {
    await file.writeFile(text);
    await file.chmod(mode);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Without it a power cut may bring the old name back. Some file systems refuse (EINVAL). */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync().catch((error: unknown) => {
      if (!hasSystemCode(error, "EINVAL")) throw error;
    });
  } finally {
    await handle.close();
  }
}

/**
 * The text of a small file. Throws Node's error, or an Error for what is not a plain file (a FIFO would block for ever) or
 * has more than `maxBytes`.
 */
export function readSmallFile(path: string, maxBytes: number): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new Error("the path is not a regular file");
    if (stat.size > maxBytes) throw new Error(`the file has ${stat.size} bytes, which is too large`);
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}

/** As `readSmallFile`; "" where that throws. */
export function readSmallFileOrEmpty(path: string, maxBytes: number): string {
  try {
    return readSmallFile(path, maxBytes);
  } catch {
    return "";
  }
}

/** Of /proc and /sys, whose files say no size; "" where there is none or it cannot be read. */
export function readFileOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Changes with a file's content, as far as its metadata tell; empty when there is none. Takes no descriptor. */
export function fileVersion(path: string): string {
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    return found === undefined ? "" : `${found.ino}.${found.mtimeMs}.${found.size}`;
  } catch {
    return "unreadable"; // a loop of links, a part of the path that is not for us
  }
}

/** True when a file system call failed since there is no such file: ENOENT, ENOTDIR. */
export function isMissingFile(error: unknown): boolean {
  return hasSystemCode(error, "ENOENT", "ENOTDIR");
}

/** True for a file that may not be read, or stands where nobody may look. */
export function isDeniedFile(error: unknown): boolean {
  return hasSystemCode(error, "EACCES", "EPERM");
}

/** True for an error of Node's that carries one of these codes (`EEXIST`). */
function hasSystemCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
