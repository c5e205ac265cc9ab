// The network configuration in a file (net-conf.json, from a ConfigMap): read, and looked at again every few seconds. A
// ConfigMap's file is replaced by turning a symbolic link, which no watch of the file itself would tell.
import { readFile, stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { FlannelError } from "../../errors.ts";
import type { Revision } from "../../lease/lease.ts";
import type { NetworkConfigDocument } from "../subnet-store.ts";

/** The kubelet itself needs a minute to bring a change here. */
const LOOK_EVERY_MS = 2_000;
const MAX_FILE_BYTES = 1024 * 1024;

/** Of a file: when it was written, by the clock of its file system. */
class FileRevision implements Revision {
  readonly #writtenAtMs: number;
  readonly text: string;

  constructor(writtenAtMs: number, text: string) {
    this.#writtenAtMs = writtenAtMs;
    this.text = text;
  }

  isAfter(other: Revision): boolean {
    return other instanceof FileRevision && this.#writtenAtMs > other.#writtenAtMs;
  }

  toString(): string {
    return new Date(this.#writtenAtMs).toISOString();
  }
}

export class NetConfigFile {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Rejects with `CONFIG_MISSING` for a file that is not there or empty, `FILE_FAILED` for one that cannot be read. */
  async read(): Promise<NetworkConfigDocument> {
    const document = await this.#tryRead();
    if (document !== undefined) return document;
    throw new FlannelError(
      "CONFIG_MISSING",
      `there is no network configuration in ${this.path}: it is net-conf.json of the ConfigMap kube-flannel-cfg as a rule`,
      { retryable: true },
    );
  }

  /** Every later version of another text; undefined when the file is gone. */
  async *watch(
    after: Revision,
    signal: AbortSignal,
  ): AsyncGenerator<NetworkConfigDocument | undefined, void, undefined> {
    let known = after instanceof FileRevision ? after.text : undefined;
    let seen = "";
    while (!signal.aborted) {
      const mark = await this.#mark();
      if (mark !== seen) {
        // What could not be read is not gone: it is looked at again.
        const read = await this.#tryRead().then(
          (document) => ({ document }),
          () => undefined,
        );
        if (read !== undefined) {
          seen = mark;
          if (read.document?.text !== known) {
            known = read.document?.text;
            yield read.document;
          }
        }
      }
      await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Changes with every new version of the file. */
  async #mark(): Promise<string> {
    try {
      const { ino, mtimeMs, size } = await stat(this.path);
      return `${ino} ${mtimeMs} ${size}`;
    } catch {
      return "missing";
    }
  }

  async #tryRead(): Promise<NetworkConfigDocument | undefined> {
    try {
      const { mtimeMs, size } = await stat(this.path);
      if (size > MAX_FILE_BYTES) throw new Error(`it is longer than ${MAX_FILE_BYTES} bytes`);
      const text = await readFile(this.path, "utf8");
      return text.trim() === "" ? undefined : { text, revision: new FileRevision(mtimeMs, text) };
    } catch (cause) {
      if (cause instanceof Error && "code" in cause && (cause.code === "ENOENT" || cause.code === "ENOTDIR")) {
        return undefined;
      }
      const message = `cannot read the network configuration in ${this.path}`;
      throw new FlannelError("FILE_FAILED", message, { cause, retryable: true });
    }
  }
}
