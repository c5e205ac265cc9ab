// Keeps a long-lived process small. Half of what a Node process has resident is program text that only its start needed;
// and V8 leaves a few megabytes of garbage lying for many minutes when little is allocated.
import { readFileSync } from "node:fs";
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8";
import { collectGarbage, exposeGc } from "./large-buffers.ts";
import { MADV_DONTNEED, madvise, trimMalloc } from "./libc.ts";

/** Under load most text is back after one to two seconds; a longer tick only keeps what was needed once. */
const TICK_MS = 2_000;
/** CPU time since the last time below which there is nothing to give back: at rest this costs nothing. */
const MIN_CPU_US = 10_000;
const COLLECT_AFTER_MS = 60_000;
const MIN_GARBAGE_BYTES = 512 * 1_024;
const LARGE_HEAP_BYTES = 32 * 1_024 * 1_024;

/** Addresses, the end not included. */
export interface PageRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Every two seconds, if the process did something: unmaps the program's pages, which the kernel maps again from its page
 * cache as they are touched; gives back what malloc has free; and at most once a minute collects garbage, if half a
 * megabyte has grown old. For all threads but their heaps: only that of the calling thread is collected.
 */
export function keepMemorySmall(): Disposable {
  const pages = new ProgramPages();
  const heap = new OldHeap();
  let before = process.cpuUsage();
  const timer = setInterval(() => {
    const { user, system } = process.cpuUsage(before);
    const isResting = user + system < MIN_CPU_US;
    // Also at rest: what the last load has left may have come too early for the time between two collections.
    if (!heap.collect(isResting) && isResting) return;
    before = process.cpuUsage();
    pages.release();
    trimMalloc?.(0);
  }, TICK_MS);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/**
 * The start is over: in the next turn its program text and its garbage are given back at once, and from now on the heap is kept small: it
 * grows in small steps. V8 asks for this flag whenever it decides, so it may be set late; set from the beginning, a
 * start with 50,000 leases takes half as long again.
 */
export function trimAfterStart(): void {
  setFlagsFromString("--optimize-for-size");
  setImmediate(() => {
    // The pause would be felt.
    if (oldBytes() <= LARGE_HEAP_BYTES) collectGarbage();
    new ProgramPages().release();
    trimMalloc?.(0);
  });
}

class ProgramPages {
  #ranges: readonly PageRange[] | undefined;

  release(): void {
    this.#ranges ??= readRanges();
    // It only fails for memory that is not there; then there is nothing to give back.
    for (const { start, end } of this.#ranges) madvise(start, end - start, MADV_DONTNEED);
  }
}

/** None where the kernel was built without CONFIG_PROC_PAGE_MONITOR. */
function readRanges(): readonly PageRange[] {
  try {
    return unchangedFilePages(readFileSync("/proc/self/smaps", "utf8"));
  } catch {
    return [];
  }
}

/**
 * The mappings in `smaps` (proc(5)) that are as their file is: private, not writable, without a page of their own, be it
 * in memory or swapped out. Relocated data has such pages, and so has text that was moved to huge pages: they would be
 * lost. Only of files that are mapped to be executed too, which stay for good: the ranges are used again and again, and
 * where a file was mapped for a moment, live memory may be next.
 */
export function unchangedFilePages(smaps: string): PageRange[] {
  const mappings = parseMappings(smaps);
  const programs = new Set(mappings.filter(({ access }) => access[2] === "x").map(({ file }) => file));
  return mappings
    .filter(({ file, access, ownPages }) => {
      const isUnchanged = /^r-[x-]p$/.test(access) && ownPages.Anonymous === "0" && ownPages.Swap === "0";
      return file !== undefined && programs.has(file) && isUnchanged;
    })
    .map(({ range }) => range);
}

interface Mapping {
  readonly range: PageRange;
  readonly access: string;
  /** Device and inode. */
  readonly file: string | undefined;
  /** In kilobytes. `Anonymous` counts those in memory only. */
  readonly ownPages: { Anonymous?: string; Swap?: string };
}

function parseMappings(smaps: string): Mapping[] {
  const mappings: Mapping[] = [];
  for (const line of smaps.split("\n")) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ (\S+) (\d+)/.exec(line);
    if (head !== null) {
      const [, start = "", end = "", access = "", device, inode] = head;
      const range = { start: Number.parseInt(start, 16), end: Number.parseInt(end, 16) };
      mappings.push({ range, access, file: inode === "0" ? undefined : `${device} ${inode}`, ownPages: {} });
      continue;
    }
    const [, name, kilobytes] = /^(Anonymous|Swap): +(\d+) kB$/.exec(line) ?? [];
    const ownPages = mappings.at(-1)?.ownPages;
    if (ownPages !== undefined && (name === "Anonymous" || name === "Swap")) ownPages[name] = kilobytes ?? "";
  }
  return mappings;
}

class OldHeap {
  #bytes = 0;
  #gc: (() => void) | undefined;
  #collectedAtMs = performance.now();

  /**
   * Returns whether it did. Ten megabytes take some ten milliseconds: under load a large heap is left to V8, which marks
   * beside.
   */
  collect(isResting: boolean): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#collectedAtMs < COLLECT_AFTER_MS) return false;
    const bytes = oldBytes();
    if (!isResting && bytes > LARGE_HEAP_BYTES) return false;
    // What V8 has collected itself counts from there.
    this.#bytes = Math.min(this.#bytes, bytes);
    if (bytes - this.#bytes < Math.max(MIN_GARBAGE_BYTES, this.#bytes / 20)) return false;
    this.#gc ??= exposeGc();
    this.#gc();
    this.#collectedAtMs = nowMs;
    this.#bytes = oldBytes();
    return true;
  }
}

function oldBytes(): number {
  const spaces = getHeapSpaceStatistics().filter(({ space_name: name }) => !name.startsWith("new_"));
  return spaces.reduce((sum, { space_used_size: bytes }) => sum + bytes, 0);
}
