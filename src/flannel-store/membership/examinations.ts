// Lets one member see what another one's `flannelctl doctor` finds: who asks waits here, and the other's agent, which keeps a call
// open for that, answers. Read-only; a host examines itself at most every ten seconds, and all who ask in between share the report.
import { randomUUID } from "node:crypto";
import { FlannelError } from "../../errors.ts";
import type { HostRecord } from "./member-file.ts";

/** An agent that hears of nothing for so long calls again. */
export const AWAIT_MS = 50_000;
/** For an agent to call, and its doctor to look. */
const ANSWER_WITHIN_MS = 13_000;
const REUSED_MS = 10_000;
const MAX_KEPT = 256;
export const MAX_REPORT_BYTES = 512 * 1_024;

interface Examination {
  readonly id: string;
  readonly report: Promise<Uint8Array>;
  readonly finish: (report: Uint8Array) => void;
}

type Host = Pick<HostRecord, "name" | "keyPin">;

export class Examinations {
  /** By key pin, as all others here. */
  readonly #waiting = new Map<string, (id: string) => void>();
  readonly #open = new Map<string, Examination>();
  readonly #done = new Map<string, { readonly atMs: number; readonly report: Uint8Array }>();
  readonly #nowMs: () => number;
  readonly #answerWithinMs: number;

  constructor(nowMs: () => number = () => performance.now(), answerWithinMs = ANSWER_WITHIN_MS) {
    this.#nowMs = nowMs;
    this.#answerWithinMs = answerWithinMs;
  }

  /** For the host's agent: the id of an examination that is waited for; "" after a while without one. */
  async next({ keyPin }: Host): Promise<string> {
    // A host has one agent: an earlier call of it is dead.
    this.#waiting.get(keyPin)?.("");
    // One that was handed out already went to a call that was dead: an agent that calls is not working on it.
    const open = this.#open.get(keyPin);
    if (open !== undefined) return open.id;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#waiting.set(keyPin, resolve);
    const timer = setTimeout(() => resolve(""), AWAIT_MS).unref();
    const id = await promise;
    clearTimeout(timer);
    if (this.#waiting.get(keyPin) === resolve) this.#waiting.delete(keyPin);
    return id;
  }

  /** Of the host's agent. Throws `CONFIG_INVALID` for what nobody asked for. */
  finish({ keyPin }: Host, id: string, report: Uint8Array): void {
    const open = this.#open.get(keyPin);
    if (open === undefined || open.id !== id) {
      throw new FlannelError("CONFIG_INVALID", "nobody waits for this report any more");
    }
    if (report.length > MAX_REPORT_BYTES) {
      throw new FlannelError("CONFIG_INVALID", `a report has at most ${MAX_REPORT_BYTES} bytes`);
    }
    open.finish(report);
  }

  /** For whoever asks. Throws `AGENT_SILENT` when the host does not answer in time. */
  async examine(host: Host): Promise<Uint8Array> {
    const done = this.#done.get(host.keyPin);
    if (done !== undefined && this.#nowMs() - done.atMs < REUSED_MS) return done.report;
    const { report } = this.#open.get(host.keyPin) ?? this.#begin(host);
    return await report;
  }

  #begin({ keyPin, name }: Host): Examination {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    const id = randomUUID();
    const end = () => {
      clearTimeout(timer);
      this.#open.delete(keyPin);
    };
    const timer = setTimeout(() => {
      end();
      const message = `host ${name} does not answer: its flanneld does not run, is older, or has no connection to the store`;
      reject(new FlannelError("AGENT_SILENT", message));
    }, this.#answerWithinMs).unref();
    const finish = (report: Uint8Array) => {
      end();
      this.#keep(keyPin, report);
      resolve(report);
    };
    const waiting = this.#waiting.get(keyPin);
    const examination = { id, report: promise, finish };
    this.#open.set(keyPin, examination);
    this.#waiting.delete(keyPin);
    waiting?.(id);
    return examination;
  }

  #keep(keyPin: string, report: Uint8Array): void {
    const nowMs = this.#nowMs();
    for (const [pin, { atMs }] of this.#done) if (nowMs - atMs >= REUSED_MS) this.#done.delete(pin);
    if (this.#done.size < MAX_KEPT) this.#done.set(keyPin, { atMs: nowMs, report });
  }
}
