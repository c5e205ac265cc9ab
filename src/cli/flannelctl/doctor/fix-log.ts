// The log of what `flannelctl doctor --fix` ran on this host: a file in the state directory, written before each step, so that
// what was begun can be undone whatever happened then. `flannelctl doctor --undo` reads it.
import { join } from "node:path";
import { z } from "zod";
import { describeError, FlannelError } from "../../../errors.ts";
import { isMissingFile, readSmallFile, writeFileAtomically } from "../../../sys/files.ts";

const stepSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("sysctl"), key: z.string().startsWith("net/"), value: z.string() }),
  z.object({ kind: z.literal("run"), command: z.tuple([z.enum(["ip", "modprobe"])], z.string()) }),
]);

const entrySchema = z.object({
  /** Of all steps of one `--fix`: when it began. */
  run: z.iso.datetime(),
  at: z.iso.datetime(),
  code: z.string(),
  evidence: z.string(),
  /** As a person would type it. */
  command: z.string(),
  undo: stepSchema.optional(),
  /** Of a person who became root. */
  by: z.string().optional(),
  /** `undo-failed`: left to the operator, so that it does not stand in the way of undoing what was before it. */
  state: z.enum(["begun", "done", "failed", "undone", "undo-failed"]),
  reason: z.string().optional(),
});

export type LoggedFix = z.infer<typeof entrySchema>;
export type UndoStep = z.infer<typeof stepSchema>;

/** In the state directory. */
export const FIX_LOG_FILE = "doctor-fixes.json";
const MAX_ENTRIES = 200;
const MAX_BYTES = 1 << 20;

export function fixLogIn(stateDirectory: string): string {
  return join(stateDirectory, FIX_LOG_FILE);
}

export class FixLog {
  readonly path: string;
  readonly #entries: LoggedFix[];

  private constructor(path: string, entries: LoggedFix[]) {
    this.path = path;
    this.#entries = entries;
  }

  /** Throws `FILE_FAILED` for a file that is there and cannot be read as a log. */
  static open(stateDirectory: string): FixLog {
    const path = fixLogIn(stateDirectory);
    try {
      return new FixLog(path, z.array(entrySchema).parse(JSON.parse(readSmallFile(path, MAX_BYTES))));
    } catch (cause) {
      if (isMissingFile(cause)) return new FixLog(path, []);
      const message = `cannot read ${path}, the log of earlier fixes: ${describeError(cause)}; move it away to begin a new one`;
      throw new FlannelError("FILE_FAILED", message, { cause });
    }
  }

  /** Of the last `--fix` that is not undone: the last step first. */
  get undoable(): readonly LoggedFix[] {
    const open = this.#entries.filter(
      ({ state, undo }) => (state === "done" || state === "begun") && undo !== undefined,
    );
    const run = open.at(-1)?.run;
    return open.filter((entry) => entry.run === run).toReversed();
  }

  /** Resolves when it is on disk. Throws `FILE_FAILED`. */
  async add(entry: LoggedFix): Promise<void> {
    this.#entries.push(entry);
    await this.#write();
  }

  /** The outcome of one that was added. Throws `FILE_FAILED`. */
  async settle(entry: LoggedFix, state: LoggedFix["state"], reason?: string): Promise<void> {
    const at = this.#entries.indexOf(entry);
    if (at >= 0) this.#entries[at] = { ...entry, state, ...(reason !== undefined && { reason }) };
    await this.#write();
  }

  async #write(): Promise<void> {
    await writeFileAtomically(this.path, `${JSON.stringify(this.#entries.slice(-MAX_ENTRIES), undefined, 1)}\n`, 0o600);
  }
}
