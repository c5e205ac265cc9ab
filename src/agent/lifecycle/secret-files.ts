// Files of this host with secrets that the network configuration names: read before each plan, looked at every second. One
// that cannot be used says why; what it said before is not used any longer than the kernel keeps it.
import type { SecretFile, SecretFileUse } from "../../backend/backend.ts";
import type { Finding } from "../../doctor/finding.ts";
import { describeError } from "../../errors.ts";
import { readPrivateFile } from "../../sys/private-file.ts";
import type { Logger } from "../../telemetry/logger.ts";

const LOOK_MS = 1_000;
const MAX_BYTES = 4_096;

export class SecretFiles implements Disposable {
  readonly #logger: Logger;
  readonly #onChange: () => void;
  #timer: NodeJS.Timeout | undefined;
  #uses: readonly SecretFileUse[] = [];
  #files: ReadonlyMap<string, SecretFile> = new Map();

  constructor(logger: Logger, onChange: () => void) {
    this.#logger = logger;
    this.#onChange = onChange;
  }

  /** From now on these are followed, and no others. The same map while nothing changes. */
  of(uses: readonly SecretFileUse[]): ReadonlyMap<string, SecretFile> {
    if (uses.length === 0) clearInterval(this.#timer);
    else if (this.#uses.length === 0) this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
    this.#uses = uses;
    this.#read();
    return this.#files;
  }

  get findings(): Finding[] {
    return [...this.#files].flatMap(([path, file]) =>
      "problem" in file ? [{ name: "secret-file", severity: "error", ...evidenceOf(path, file.problem) }] : [],
    );
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    if (this.#read()) this.#onChange();
  }

  /** True when something changed. */
  #read(): boolean {
    const found = new Map(this.#uses.map((use) => [use.path, read(use)]));
    const changed = [...found.keys()].filter((path) => !isSame(found.get(path), this.#files.get(path)));
    if (changed.length === 0 && found.size === this.#files.size) return false;
    const before = this.#files;
    this.#files = found;
    for (const path of changed) this.#logChange(path, found.get(path), before.has(path));
    return true;
  }

  #logChange(path: string, file: SecretFile | undefined, wasKnown: boolean): void {
    if (file === undefined) return;
    if ("problem" in file) {
      this.#logger.error("secret-file.unusable", evidenceOf(path, file.problem).evidence, { file: path });
    } else if (wasKnown) this.#logger.info("secret-file.changed", `${path} changed: using what it says now`);
  }
}

function read({ path, faultOf }: SecretFileUse): SecretFile {
  try {
    const text = readPrivateFile(path, MAX_BYTES);
    const problem = faultOf(text);
    return problem === undefined ? { text } : { problem };
  } catch (error) {
    return { problem: describeError(error) };
  }
}

function isSame(a: SecretFile | undefined, b: SecretFile | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return "text" in a ? "text" in b && a.text === b.text : "problem" in b && a.problem === b.problem;
}

function evidenceOf(path: string, problem: string) {
  return {
    evidence: `cannot use ${path}: ${problem}; peers keep the secret that they have, and new ones wait`,
    remedy: `put the secret into ${path}, with mode 0600 and root as its owner`,
  };
}
