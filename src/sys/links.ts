// Symbolic links that are replaced in one step, so that there is always one.
import { randomInt } from "node:crypto";
import { readlinkSync } from "node:fs";
import { rename, rm, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { FlannelError } from "../errors.ts";
import { ensureDirectory } from "./files.ts";

/** Where the link at `path` points, as written in it; undefined when there is none, or something else. */
export function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/**
 * Makes `path` a link to `target`, in place of whatever file or link is there; also when it is that link already, since
 * whoever watches the directory then sees a new one. Throws `FILE_FAILED`.
 */
export async function replaceLink(path: string, target: string): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}${randomInt(2 ** 47)}`);
  try {
    ensureDirectory(dirname(path), 0o755);
    await symlink(target, temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined); // the first error is the one to tell
    throw new FlannelError("FILE_FAILED", `cannot make ${path} a link to ${target}`, { cause: error, retryable: true });
  }
}
