// File descriptors kept for the moment when there are no others: what must be done then (a repair of traffic rules, the
// subnet file, an answer on the control socket) takes theirs. One set for the whole process.
import { closeSync, openSync } from "node:fs";
import { descriptorLimit, openDescriptors } from "./open-descriptors.ts";

/** Three pipes and a status pipe of one program that is started, or a few files; and as many again as `forAll`. */
const LENT = 12;
/** Under a limit so low that we need the rest ourselves there are fewer spare ones. */
const SHARE_OF_LIMIT = 1 / 8;
/** So many more must be free before a shortage is over. */
const MARGIN = 4;
const errors: ReadonlySet<unknown> = new Set(["EMFILE", "ENFILE"]);

export interface DescriptorShortage {
  /** Missing where it cannot be read. */
  readonly used?: number;
  /** The soft limit of the process. */
  readonly limit?: number;
}

const held: number[] = [];
let isHolding = false;
let lent = LENT;
/** Given up while there is a shortage, for connections that come in and files that are read. */
let forAll = LENT;
let isShort = false;
let lane: Promise<unknown> = Promise.resolve();

/** To be called before anything else is opened: low numbers stay usable under a limit that is lowered later. */
export function holdSpareDescriptors(): void {
  isHolding = true;
  const spare = Math.floor((descriptorLimit() ?? Number.POSITIVE_INFINITY) * SHARE_OF_LIMIT);
  lent = Math.min(LENT, spare);
  forAll = Math.min(LENT, spare - lent);
  fill(lent + forAll);
}

/** True for an error, or one of its causes, that says that no descriptor was left in the process or on the host. */
export function isOutOfDescriptors(error: unknown): boolean {
  for (let current = error, depth = 0; current instanceof Error && depth < 5; current = current.cause, depth++) {
    if ("code" in current && errors.has(current.code)) return true;
  }
  return false;
}

/** Does the task; when it fails for want of a descriptor, once more with the spare ones, one task after the other. */
export async function withSpareDescriptors<T>(task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    if (!isHolding || !isOutOfDescriptors(error)) throw error;
  }
  const result = lane.then(async () => {
    release(0);
    try {
      return await task();
    } finally {
      fill(isShort ? lent : lent + forAll);
    }
  });
  const done = () => undefined;
  lane = result.then(done, done);
  return await result;
}

/** To be called now and then: sees whether a shortage has begun or is over. Undefined when there is none. */
export function refillSpareDescriptors(): DescriptorShortage | undefined {
  if (!isHolding) return undefined;
  fill(lent + forAll + MARGIN);
  isShort = held.length < lent + forAll + MARGIN;
  release(isShort ? lent : lent + forAll);
  return isShort ? describe() : undefined;
}

/** As found when they were last refilled. */
export function descriptorShortage(): DescriptorShortage | undefined {
  return isShort ? describe() : undefined;
}

function describe(): DescriptorShortage {
  const { open, most } = openDescriptors();
  return { ...(open !== undefined && { used: open - held.length }), ...(most !== undefined && { limit: most }) };
}

function fill(count: number): void {
  try {
    while (held.length < count) held.push(openSync("/dev/null", "r"));
  } catch {
    // As many as there are.
  }
}

/** The last ones first: low numbers are the more valuable. */
function release(count: number): void {
  for (const fd of held.splice(count)) closeSync(fd);
}
