// Where the programs that now run are installed, and by what they are run: what a unit has to name.
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { FlannelError } from "../../errors.ts";

export interface Installation {
  /** The directory with bin/ and deploy/. */
  readonly directory: string;
  /** The Node to name to the launchers; missing when they find one by themselves, wherever they are started. */
  readonly node?: string;
}

/** Throws `FILE_FAILED` when the programs lie somewhere without bin/ and deploy/ above them. */
export function findInstallation(): Installation {
  const directory = installationAbove(dirname(fileURLToPath(import.meta.url)));
  // The launchers find the Node that was installed with them; another one may be known to this shell only.
  const isOwnNode = process.execPath.startsWith(`${directory}/`);
  return isOwnNode ? { directory } : { directory, node: process.execPath };
}

function installationAbove(from: string): string {
  for (let directory = from; ; directory = dirname(directory)) {
    if (existsSync(join(directory, "bin/flanneld")) && existsSync(join(directory, "deploy/flanneld.service"))) {
      return directory;
    }
    if (dirname(directory) === directory) {
      throw new FlannelError("FILE_FAILED", `there is no bin/flanneld and deploy/flanneld.service above ${from}`);
    }
  }
}

/** Whether root can get there without its power over others' files, which a service does without. */
export function isOpenToRoot(path: string): boolean {
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    const { uid, mode } = statSync(directory);
    if ((mode & (uid === 0 ? 0o100 : 0o001)) === 0) return false;
    if (dirname(directory) === directory) return true;
  }
}
