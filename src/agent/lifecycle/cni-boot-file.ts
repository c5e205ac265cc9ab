// Keeps the file by which systemd removes the CNI configuration at boot (`--cni-boot-file`): made before that configuration,
// made again when it is gone, left alone where another program or an operator has its place.
import { rmSync } from "node:fs";
import { isBootFile, renderBootFile } from "../../config/cni-boot-lines.ts";
import { describeError, FlannelError } from "../../errors.ts";
import {
  fileVersion,
  isMissingFile,
  readSmallFile,
  readSmallFileOrEmpty,
  writeFileAtomically,
} from "../../sys/files.ts";
import type { Logger } from "../../telemetry/logger.ts";

const MAX_BYTES = 64 * 1024;
/** What cannot be written (a read-only /etc) seldom changes. */
const RETRY_MS = 60_000;

export class CniBootFile {
  readonly #path: string;
  readonly #text: string;
  readonly #logger: Logger;
  /** Of the file when it was last found right. */
  #version = "";
  #failure = "";
  #retryAtMs = 0;

  constructor(path: string, cniFile: string, logger: Logger) {
    this.#path = path;
    this.#text = renderBootFile(cniFile);
    this.#logger = logger;
  }

  /** Whether `write` has something to do. Cheap. */
  get isDue(): boolean {
    const version = fileVersion(this.#path);
    return (version === "" || version !== this.#version) && performance.now() >= this.#retryAtMs;
  }

  /** Pods can be started without it: what fails is logged. */
  async write(): Promise<void> {
    if (!this.isDue) return;
    const path = this.#path;
    try {
      if (contentOf(path) === "foreign") {
        throw new FlannelError("FILE_FAILED", "it was not written by flanneld: remove it, or name another file");
      }
      const isNew = await writeFileAtomically(path, this.#text);
      this.#version = this.#versionOfOurs();
      this.#failure = "";
      const message = `wrote ${path}, by which systemd removes the CNI configuration at boot`;
      if (isNew) this.#logger.info("cni-boot.written", message, { file: path });
    } catch (error) {
      this.#retryAtMs = performance.now() + RETRY_MS;
      const reason = describeError(error);
      if (reason === this.#failure) return;
      this.#failure = reason;
      const message = `cannot keep ${path}: after a reboot this host may be called ready before its network is`;
      this.#logger.warn("cni-boot.failed", message, { error: reason });
    }
  }

  /** Empty where another program changed it since it was written: it is due again. Read before the content: a later change shows. */
  #versionOfOurs(): string {
    const version = fileVersion(this.#path);
    return readSmallFileOrEmpty(this.#path, MAX_BYTES) === this.#text ? version : "";
  }
}

/** Of an earlier run, which was given another one or now is given none. */
export function forgetBootFile(path: string, logger: Logger): void {
  try {
    if (removeBootFile(path))
      logger.info("cni-boot.removed", `removed ${path}, which is no longer wanted`, { file: path });
  } catch (error) {
    const message = `cannot remove ${path}, which is no longer wanted: systemd goes on removing the CNI configuration at boot`;
    logger.warn("cni-boot.not-removed", message, { error: describeError(error) });
  }
}

/** Removes a file that we wrote; returns whether there was one. Throws Node's error. */
function removeBootFile(path: string): boolean {
  if (contentOf(path) !== "ours") return false;
  rmSync(path);
  return true;
}

/** What cannot be read is foreign; so is a link to /dev/null, by which administrators turn such a file off. */
function contentOf(path: string): "none" | "ours" | "foreign" {
  try {
    return isBootFile(readSmallFile(path, MAX_BYTES)) ? "ours" : "foreign";
  } catch (error) {
    return isMissingFile(error) ? "none" : "foreign";
  }
}
