// The file of users: one `name:password` a line. The passwords are readable: the file is kept like a private key.
import { readFileSync, statSync } from "node:fs";
import { describeError, FlannelError } from "../../errors.ts";

/** Name → password. Throws `CONFIG_INVALID` when others may read the file, or a line is not `name:password`. */
export function readUsersFile(file: string): ReadonlyMap<string, string> {
  return parseUsers(read(file), file);
}

/** `file` is named in errors; the text never is: it may be a password. */
export function parseUsers(text: string, file: string): ReadonlyMap<string, string> {
  const users = new Map<string, string>();
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).trim();
    const password = line.slice(colon + 1).replace(/\r$/, "");
    if (colon < 0 || name === "" || password === "") {
      throw new FlannelError("CONFIG_INVALID", `--users-file ${file}: line ${index + 1} is not name:password`);
    }
    users.set(name, password);
  }
  if (users.size === 0) throw new FlannelError("CONFIG_INVALID", `--users-file ${file} names no user`);
  return users;
}

function read(file: string): string {
  try {
    if ((statSync(file).mode & 0o077) !== 0) {
      throw new FlannelError(
        "CONFIG_INVALID",
        `--users-file ${file} can be read by other users: run chmod 600 ${file}`,
      );
    }
    return readFileSync(file, "utf8");
  } catch (cause) {
    if (cause instanceof FlannelError) throw cause;
    throw new FlannelError("CONFIG_INVALID", `--users-file ${file} cannot be read: ${describeError(cause)}`, { cause });
  }
}
