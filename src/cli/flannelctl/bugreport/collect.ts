// Gathers the parts of a bug report and packs them: bounded in time and size, without secrets. What could not be had is listed
// with the reason, so that nobody takes a gap for nothing.
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { describeError } from "../../../errors.ts";
import { printableDocument, printableJson } from "../../../terminal/foreign-text.ts";
import { PART_LIMIT_MS, type Part } from "./parts.ts";
import type { Redactor } from "./redact.ts";
import { type TarEntry, writeTar } from "./tar.ts";

export interface IndexEntry {
  readonly file: string;
  readonly command: string;
  readonly exitCode?: number;
  readonly seconds: number;
  readonly bytes: number;
  readonly redactions: number;
  /** Bytes that were left out for want of room. */
  readonly cutBytes?: number;
  /** Why the part is missing. */
  readonly failure?: string;
}

export interface Report {
  readonly archive: Uint8Array;
  readonly index: readonly IndexEntry[];
  readonly unpackedBytes: number;
}

const AT_ONCE = 4;
/** Of all parts together. */
const TOTAL_LIMIT_MS = 30_000;
const MAX_UNPACKED_BYTES = 20 * 1_024 * 1_024;
const MAX_PACKED_BYTES = 5 * 1_024 * 1_024;
/** For the two files about the report, and what an archive adds to each file. */
const RESERVED_BYTES = 512 * 1_024;
const MAX_PART_BYTES = 4 * 1_024 * 1_024;
/** Of a part, before secrets are looked for, which takes some tenths of a second for each million. */
const MAX_CHARACTERS = 6 * 1_024 * 1_024;

interface Gathered {
  readonly part: Part;
  readonly seconds: number;
  readonly text?: string;
  readonly exitCode?: number;
  readonly failure?: string;
}

export async function collectReport(parts: readonly Part[], redactor: Redactor, root: string): Promise<Report> {
  const endMs = performance.now() + TOTAL_LIMIT_MS;
  const gathered = (await gatherAll(parts, endMs)).map((one) => cleaned(one, redactor));
  for (let maxPartBytes = MAX_PART_BYTES; ; maxPartBytes = Math.floor(maxPartBytes / 2)) {
    const { entries, index } = fill(gathered, maxPartBytes);
    const unpackedBytes = entries.reduce((sum, { content }) => sum + content.length + 1_024, 0);
    const named = entries.map(({ name, content }) => ({ name: `${root}/${name}`, content }));
    const archive = gzipSync(writeTar(named, Date.now()));
    if (archive.length <= MAX_PACKED_BYTES && unpackedBytes <= MAX_UNPACKED_BYTES)
      return { archive, index, unpackedBytes };
  }
}

async function gatherAll(parts: readonly Part[], endMs: number): Promise<Gathered[]> {
  const found: Gathered[] = [];
  const queue = [...parts.entries()];
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift())
      found[next[0]] = await gatherOne(next[1], endMs);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return found;
}

async function gatherOne(part: Part, endMs: number): Promise<Gathered> {
  const startMs = performance.now();
  const seconds = () => Math.round(performance.now() - startMs) / 1_000;
  const limitMs = Math.min((part.limitMs ?? PART_LIMIT_MS) + 500, endMs - startMs);
  if (limitMs <= 0)
    return { part, seconds: 0, failure: `no time left: the report takes ${TOTAL_LIMIT_MS / 1_000} s at most` };
  const late = new AbortController();
  try {
    const tooLate = delay(limitMs, undefined, { signal: late.signal }).then(() => {
      throw new Error(`no answer within ${Math.round(limitMs / 100) / 10} s`);
    });
    tooLate.catch(() => undefined);
    const content = await Promise.race([Promise.resolve().then(() => part.gather()), tooLate]);
    return { part, seconds: seconds(), ...content };
  } catch (error) {
    return { part, seconds: seconds(), failure: describeError(error) };
  } finally {
    late.abort();
  }
}

interface Cleaned {
  readonly entry: Omit<IndexEntry, "bytes" | "cutBytes">;
  /** Missing: the part could not be had. */
  readonly content?: Buffer;
  /** Left out already. */
  readonly cutBytes: number;
}

/** Without secrets. Once for each part: it is what takes longest. */
function cleaned({ part, seconds, text, exitCode, failure }: Gathered, redactor: Redactor): Cleaned {
  const common = {
    file: part.file,
    command: redactor.redact(part.command).text,
    seconds,
    ...(exitCode !== undefined && { exitCode }),
  };
  if (text === undefined) {
    const why = redactor.redact(failure ?? "nothing").text;
    return { entry: { ...common, redactions: 0, failure: why }, cutBytes: 0 };
  }
  const head = wholeLines(text);
  const clean = redactor.redact(head);
  // Who unpacks it looks at the files on a terminal.
  const content = Buffer.from(printableDocument(clean.text));
  const cutBytes = head.length === text.length ? 0 : Buffer.byteLength(text) - Buffer.byteLength(head);
  return { entry: { ...common, redactions: clean.count }, content, cutBytes };
}

/** No secret is cut in two, of which one half would not be known. */
function wholeLines(text: string): string {
  return text.length <= MAX_CHARACTERS ? text : text.slice(0, text.lastIndexOf("\n", MAX_CHARACTERS) + 1);
}

function fill(gathered: readonly Cleaned[], maxPartBytes: number) {
  const entries: TarEntry[] = [];
  const index: IndexEntry[] = [];
  let left = MAX_UNPACKED_BYTES - RESERVED_BYTES;
  for (const { entry, content, cutBytes: cutBefore } of gathered) {
    if (content === undefined) {
      index.push({ ...entry, bytes: 0 });
      continue;
    }
    const kept = content.subarray(0, Math.max(0, Math.min(maxPartBytes, left)));
    const cutBytes = cutBefore + content.length - kept.length;
    left -= kept.length + 1_024;
    entries.push({ name: entry.file, content: kept });
    index.push({ ...entry, bytes: kept.length, ...(cutBytes > 0 && { cutBytes }) });
  }
  const readme = { name: "README.txt", content: Buffer.from(readmeText) };
  const list = {
    name: "index.json",
    content: Buffer.from(`${printableJson(JSON.stringify({ parts: index }, undefined, 1))}\n`),
  };
  return { entries: [readme, list, ...entries], index };
}

const readmeText = `A report about flannel on one host, made by flannelctl bugreport.

index.json   every part: the file, the command that gives the same, its exit code, how long it took, how many secrets were
             replaced, and why a part is missing
doctor.json  what flannelctl doctor found: begin here
status.json, plan.json, rules.json, metrics.json, peers.json   what the agent said of itself
journal.json what changed since the agent started, when, and because of what
networks/    configuration, leases and subnet file of each network, where the agent serves several
config.json, leases.json   the network configuration and the leases, as this host knows them
log.txt      the last lines of the agent's log
agent/       the agent's process: command line, flannel's environment variables, limits
files/       files that flannel reads and writes
network/     devices, addresses, routes, rules, neighbours of this host, as ip and bridge show them
rules/       traffic rules of all programs, with handles and counters
host/        counters, settings, modules and errors of the kernel

Characters that drive a terminal or turn the direction of text are written as \\u001b.
<secret 1a2b3c4d> stands for a secret; equal ones of one report have equal marks. Addresses and names of hosts are in here: look
through the files before you hand them on.
`;

/** Texts of files that hold secrets, so that these are found wherever else they stand. */
export function readSecretFile(path: string): string | undefined {
  try {
    const text = readFileSync(path, "utf8");
    return text.length > 64 * 1_024 ? undefined : text;
  } catch {
    return undefined;
  }
}
