// The files of the database before SQLite opens them: it takes an empty file for a new database, and reads a damaged log up to
// the damage without a word. Either way a store would start without what it had acknowledged.
import { chmodSync, closeSync, existsSync, fsyncSync, openSync, readSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";

/** https://sqlite.org/fileformat2.html, section 4. The last bit: checksums over big-endian words. */
const LOG_MAGIC = 0x377f_0682;
const LOG_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;

/**
 * Makes the database with `create` if there is none, complete or not at all. Throws for files that a store must not start
 * from: an empty or missing database, a log that is damaged in what was on disk.
 */
export function prepareDatabaseFile(file: string, create: (file: string) => void): void {
  const log = `${file}-wal`;
  const logBytes = sizeOf(log) ?? 0;
  const bytes = sizeOf(file);
  if (bytes === undefined && logBytes === 0) makeFile(file, create);
  else if (bytes === undefined) throw unusable(`${file} is missing, but its log ${log} is there`, log);
  else if (bytes === 0) throw unusable(`${file} is empty, which a store never leaves behind`, file);
  else if (logBytes > LOG_HEADER_BYTES && isDamaged(log)) {
    throw unusable(`the log ${log}, which holds the last writes, is damaged`, log);
  }
  chmodSync(file, 0o600);
}

/** What to do, for people. `file` is the one that keeps the store from starting. */
export function unusable(what: string, file: string): Error {
  return new Error(
    `${what}: starting would lose keys and leases without a word. Restore the directory from a copy; or move ${file} away to go on ` +
      "with what is left (agents that run lease their subnets again), then import a backup with flannelctl store import --keep-leases",
  );
}

/** A name of its own until it is complete: so an empty file is never one that was just begun. */
function makeFile(file: string, create: (file: string) => void): void {
  const fresh = `${file}.new`;
  for (const old of [fresh, `${fresh}-wal`, `${fresh}-journal`]) rmSync(old, { force: true });
  // SQLite gives its other files the mode of this one.
  closeSync(openSync(fresh, "a", 0o600));
  create(fresh);
  renameSync(fresh, file);
  const directory = openSync(dirname(file), "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function sizeOf(file: string): number | undefined {
  return existsSync(file) ? statSync(file).size : undefined;
}

/**
 * Whether something is wrong before what one transaction may have left behind unfinished. The header is on disk before the
 * first frame, and each transaction before the next: behind a bad frame there is at most the end of one.
 */
function isDamaged(log: string): boolean {
  const descriptor = openSync(log, "r");
  try {
    const header = Buffer.alloc(LOG_HEADER_BYTES);
    readSync(descriptor, header, 0, header.length, 0);
    const magic = header.readUInt32BE(0);
    const pageBytes = header.readUInt32BE(8);
    if ((magic & ~1) !== LOG_MAGIC || pageBytes < 512 || pageBytes > 65_536) return true;
    const sum = new Checksum((magic & 1) === 1);
    sum.add(header.subarray(0, 24));
    if (!sum.equals(header, 24)) return true;
    return hasSeveralCommitsBehindBadFrame(descriptor, header.subarray(16, 24), pageBytes, sum);
  } finally {
    closeSync(descriptor);
  }
}

function hasSeveralCommitsBehindBadFrame(descriptor: number, salts: Buffer, pageBytes: number, sum: Checksum): boolean {
  const frame = Buffer.alloc(FRAME_HEADER_BYTES + pageBytes);
  let isBad = false;
  /** Behind the bad frame: pages whose frame ended a transaction. The last one may be repeated to fill a sector. */
  const commits = new Set<number>();
  for (
    let at = LOG_HEADER_BYTES;
    readSync(descriptor, frame, 0, frame.length, at) === frame.length;
    at += frame.length
  ) {
    if (frame.compare(salts, 0, 8, 8, 16) !== 0) {
      // What is left of an earlier log, which was brought into the database.
      isBad = true;
    } else if (!isBad) {
      sum.add(frame.subarray(0, 8));
      sum.add(frame.subarray(FRAME_HEADER_BYTES));
      isBad = !sum.equals(frame, 16);
    } else if (frame.readUInt32BE(4) !== 0) {
      commits.add(at);
    }
  }
  return commits.size >= 2 && !areNeighbours(commits, frame.length);
}

function areNeighbours(commits: ReadonlySet<number>, step: number): boolean {
  const [first = 0] = commits;
  return [...commits].every((at, index) => at === first + index * step);
}

/** SQLite's, over pairs of 32-bit words. */
class Checksum {
  #first = 0;
  #second = 0;
  readonly #isBigEndian: boolean;

  constructor(isBigEndian: boolean) {
    this.#isBigEndian = isBigEndian;
  }

  /** A multiple of eight bytes. */
  add(bytes: Buffer): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const isLittleEndian = !this.#isBigEndian;
    for (let at = 0; at < bytes.length; at += 8) {
      this.#first = (this.#first + view.getUint32(at, isLittleEndian) + this.#second) >>> 0;
      this.#second = (this.#second + view.getUint32(at + 4, isLittleEndian) + this.#first) >>> 0;
    }
  }

  equals(bytes: Buffer, at: number): boolean {
    return bytes.readUInt32BE(at) === this.#first && bytes.readUInt32BE(at + 4) === this.#second;
  }
}
