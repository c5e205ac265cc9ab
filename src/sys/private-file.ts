// A file with a secret, which nobody but its owner may read.
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";

/** Read, write and execute of group and others. */
const OTHERS = 0o077;

/**
 * The text of a small file that only root or this user owns and only its owner may read or write; symbolic links are
 * followed, as those of mounted Secrets. Throws an Error that says why it cannot be used, never with its content.
 */
export function readPrivateFile(path: string, maxBytes: number): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK); // a FIFO would block for ever
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new Error("the path is not a regular file");
    if (stat.size > maxBytes) throw new Error(`the file has ${stat.size} bytes, which is too large`);
    const mode = stat.mode & 0o7777;
    if ((mode & OTHERS) !== 0) {
      throw new Error(`mode ${mode.toString(8).padStart(4, "0")} lets others than its owner use it; set it to 0600`);
    }
    if (stat.uid !== 0 && stat.uid !== process.geteuid?.()) {
      throw new Error(`it belongs to user ${stat.uid}, who could replace it; chown it to root`);
    }
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}
