// One agent for each device: two that keep the same one would undo each other's work for ever. A claim is a lock file
// named after the device and this network namespace, in one place whatever the agents' own directories are.
import { join } from "node:path";
import { FlannelError, hasCode } from "../../errors.ts";
import { FileLock, holderText } from "../../sys/file-lock.ts";
import { ensureDirectory } from "../../sys/files.ts";
import { networkNamespace } from "../../sys/network-namespace.ts";

const CLAIMS_DIRECTORY = "/run/flannel";

export class DeviceClaims implements Disposable {
  readonly #locks: FileLock[] = [];
  readonly #deviceKeys: string;

  private constructor(deviceKeys: string) {
    this.#deviceKeys = deviceKeys;
  }

  /**
   * Throws `AGENT_RUNNING`, naming device and pid, when another agent in this network namespace has one of them.
   * `deviceKeys` names what in a configuration gives a network devices of its own.
   */
  static take(devices: readonly string[], deviceKeys: string, directory = CLAIMS_DIRECTORY): DeviceClaims {
    const claims = new DeviceClaims(deviceKeys);
    try {
      for (const device of devices) claims.#take(device, directory);
    } catch (error) {
      claims[Symbol.dispose]();
      throw error;
    }
    return claims;
  }

  /** False when another agent has it. */
  tryAdd(device: string, directory = CLAIMS_DIRECTORY): boolean {
    try {
      this.#take(device, directory);
      return true;
    } catch (error) {
      if (!hasCode(error, "AGENT_RUNNING")) throw error;
      return false;
    }
  }

  /** Restores lock files that were removed; gives their paths. Throws `AGENT_RUNNING` as `take`. */
  renew(directory = CLAIMS_DIRECTORY): string[] {
    if (this.#locks.length > 0) ensureDirectory(directory, 0o755);
    return this.#locks.filter((lock) => lock.renew()).map(({ path }) => path);
  }

  [Symbol.dispose](): void {
    for (const lock of this.#locks.splice(0)) lock.removeAndFree();
  }

  #take(device: string, directory: string): void {
    try {
      ensureDirectory(directory, 0o755);
      // Agents of several hosts may share a directory, as containers and in the lab.
      this.#locks.push(FileLock.acquire(join(directory, `${device}.${networkNamespace()}.lock`)));
    } catch (error) {
      if (!hasCode(error, "AGENT_RUNNING")) return; // nowhere to say it: as without claims
      const message = `${device} is in use by another agent on this host${holderText(error.details)}: give each network its own ${this.#deviceKeys}, or stop that agent`;
      throw new FlannelError("AGENT_RUNNING", message, { details: { device, pid: error.details["pid"] } });
    }
  }
}
