// One command at a time makes or ends this host's membership: of two at once, the key of one could end up beside the
// certificate of the other.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { FlannelError, hasCode } from "../../../errors.ts";
import { FileLock, holderText } from "../../../sys/file-lock.ts";
import { ensureDirectory, removeIfEmpty } from "../../../sys/files.ts";
import type { HostPaths } from "../../install/host-paths.ts";

/** Throws `CLUSTER_CONFLICT`, naming the pid, while another command holds it. What is made for the lock goes with it. */
export function lockMembership({ subnetFile }: HostPaths): Disposable {
  const directory = dirname(subnetFile);
  const missing: string[] = [];
  for (let path = directory; !existsSync(path); path = dirname(path)) missing.push(path);
  const lock = acquire(directory);
  const release = () => {
    lock.removeAndFree();
    for (const path of missing) removeIfEmpty(path);
  };
  return { [Symbol.dispose]: release };
}

function acquire(directory: string): FileLock {
  try {
    ensureDirectory(directory, 0o755);
    return FileLock.acquire(join(directory, "membership.lock"));
  } catch (cause) {
    if (!hasCode(cause, "AGENT_RUNNING")) throw cause;
    const message = `another flannelctl${holderText(cause.details)} is changing this host's membership: wait until it ends, then check flannelctl status`;
    throw new FlannelError("CLUSTER_CONFLICT", message, { cause, details: { pid: cause.details["pid"] } });
  }
}
