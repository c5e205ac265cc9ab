// How large a packet one path carries, outside of the tunnel and inside: full size first, which is all there is to do on most
// paths; where that gets lost, a search. A size counts only when a probe of it was answered; what routers say is a hint where to
// look. Pure: it has no clock and sends nothing.
//
// Outside comes first: a tunnel lets the network cut its packets, so that a probe inside arrives although its outer packet was
// cut in two. That costs half of the throughput, and is lost where fragments are dropped.
import type { Family } from "../ip/address.ts";

export type MtuLeg = "underlay" | "main";

export interface PathMtuFound {
  /** The largest packet that passes whole outside of the tunnel; missing where nobody answers there. */
  readonly underlayBytes?: number;
  /** The largest packet of containers that arrives. */
  readonly overlayBytes: number;
  /** The largest one whose outer packet is not cut. */
  readonly wholeBytes: number;
  /** On the prober's monotonic clock. */
  readonly foundAtMs: number;
}

export interface PathMtuFacts {
  readonly family: Family;
  /** The most that can be sent outside and inside of the tunnel; see `ProbePath`. */
  readonly underlayMtuBytes: number;
  readonly overlayMtuBytes: number;
  /** The peer's public address is known, so that it can be asked outside of the tunnel. */
  readonly hasUnderlay: boolean;
}

export type MtuOutcome = "answered" | "lost" | { readonly tooBigFor: number | undefined };

/** RFC 1191, and what tunnels of our time leave of 1500. */
const plateaus = [
  9_000, 8_950, 4_352, 1_500, 1_492, 1_480, 1_472, 1_460, 1_450, 1_430, 1_420, 1_400, 1_360, 1_300, 1_280,
];
/** Nobody may claim less (RFC 791, RFC 8200). */
const LEAST: Readonly<Record<Family, number>> = { 4: 576, 6: 1_280 };
/** Silence is a size only after so many tries, since it is loss as well. */
const TRIES = 3;
/** Closer is not worth the probes. */
const CLOSE_BYTES = 8;
const FIRST_AFTER_MS = 3_000;
const AGAIN_GOOD_MS = 120_000;
const AGAIN_REDUCED_MS = 60_000;
/** Of a larger size, before it is believed. */
const CONFIRMATIONS = 2;

interface Search {
  readonly leg: MtuLeg;
  readonly full: number;
  /** Passes, or is taken to. */
  low: number;
  /** Does not. */
  high: number;
  size: number;
  silent: number;
  /** A size was answered: what got lost was not everything. */
  isAnswered: boolean;
  /** The smallest size that got lost is tried again: an outage of seconds looks like a small path. */
  isVerifying: boolean;
}

const unproved = { isAnswered: false, isVerifying: false };

export class PathMtu {
  readonly #facts: PathMtuFacts;
  #dueMs: number;
  #search: Search | undefined;
  /** Of the look under way. */
  #underlayBytes: number | undefined;
  #found: PathMtuFound | undefined;
  #confirmed = 0;

  constructor(facts: PathMtuFacts, nowMs: number) {
    this.#facts = facts;
    this.#dueMs = nowMs + FIRST_AFTER_MS;
  }

  /** Missing before the first look has ended. */
  get found(): PathMtuFound | undefined {
    return this.#found;
  }

  get isLooking(): boolean {
    return this.#search !== undefined;
  }

  /** Packets of containers as large as they may be get lost. */
  get isBroken(): boolean {
    return this.#found !== undefined && this.#found.overlayBytes < this.#facts.overlayMtuBytes;
  }

  /** They arrive, or not, in two pieces: a smaller MTU would carry them whole. */
  get isReduced(): boolean {
    return this.#found !== undefined && this.#found.wholeBytes < this.#facts.overlayMtuBytes;
  }

  /** The probe to send next, of a path that is up; undefined when there is nothing to find out. */
  next(nowMs: number): { readonly leg: MtuLeg; readonly packetBytes: number } | undefined {
    if (this.#search === undefined && nowMs < this.#dueMs) return undefined;
    this.#search ??= this.#begin(this.#facts.hasUnderlay ? "underlay" : "main");
    return { leg: this.#search.leg, packetBytes: this.#search.size };
  }

  take(leg: MtuLeg, packetBytes: number, outcome: MtuOutcome, nowMs: number): void {
    const search = this.#search;
    if (search === undefined || search.leg !== leg || search.size !== packetBytes) return;
    if (outcome === "answered" && search.isVerifying) {
      this.#search = this.#begin(leg);
      return;
    }
    if (!isSettledBy(search, outcome)) return;
    this.#goOn(search, outcome, nowMs);
  }

  /** To the next size, leg or look. */
  #goOn(search: Search, outcome: MtuOutcome, nowMs: number): void {
    const packetBytes = search.size;
    const whole = this.#wholeBytes(search);
    // What the path carries outside is what it carries inside, less the tunnel's own bytes.
    const isAsExpected = search.leg === "main" && outcome === "answered" && packetBytes === whole;
    const reported = typeof outcome === "object" ? outcome.tooBigFor : undefined;
    const hint = search.leg === "main" && packetBytes === search.full ? whole : reported;
    const size = isAsExpected || search.isVerifying ? undefined : nextSize(search, hint);
    if (size !== undefined) {
      tryNext(search, size);
    } else if (search.low < search.full && !search.isAnswered) {
      // When not even the least size passes, that is no matter of sizes.
      if (packetBytes === search.low) this.#endLook(nowMs + FIRST_AFTER_MS);
      else tryNext(search, search.low);
    } else if (search.high <= search.full && !search.isVerifying && !isAsExpected) {
      search.isVerifying = true;
      tryNext(search, search.high);
    } else this.#endLeg(search, nowMs);
  }

  #endLook(dueMs: number): void {
    this.#search = undefined;
    this.#underlayBytes = undefined;
    this.#dueMs = dueMs;
  }

  #begin(leg: MtuLeg): Search {
    const { family, underlayMtuBytes, overlayMtuBytes } = this.#facts;
    const full = leg === "underlay" ? underlayMtuBytes : overlayMtuBytes;
    return { leg, full, low: Math.min(LEAST[family], full), high: full + 1, size: full, silent: 0, ...unproved };
  }

  #endLeg(search: Search, nowMs: number): void {
    if (search.leg === "underlay") {
      this.#underlayBytes = search.low;
      this.#search = this.#begin("main");
      return;
    }
    const wholeBytes = Math.min(search.low, this.#wholeBytes(search));
    this.#conclude({
      ...(this.#underlayBytes !== undefined && { underlayBytes: this.#underlayBytes }),
      overlayBytes: search.low,
      wholeBytes,
      foundAtMs: nowMs,
    });
    this.#endLook(nowMs + (this.isReduced || this.#confirmed > 0 ? AGAIN_REDUCED_MS : AGAIN_GOOD_MS));
  }

  /** The largest packet inside whose outer one is as large as what passes outside. */
  #wholeBytes({ full }: Search): number {
    const { underlayMtuBytes } = this.#facts;
    return full - (underlayMtuBytes - (this.#underlayBytes ?? underlayMtuBytes));
  }

  /** Less is believed at once, more when it was found again. */
  #conclude(next: PathMtuFound): void {
    const known = this.#found;
    const isMore =
      known !== undefined && (next.wholeBytes > known.wholeBytes || next.overlayBytes > known.overlayBytes);
    this.#confirmed = isMore ? this.#confirmed + 1 : 0;
    if (isMore && this.#confirmed < CONFIRMATIONS) return;
    this.#found = next;
    this.#confirmed = 0;
  }
}

/** Narrows the search by what became of its probe; false when the same size is to be tried once more. */
function isSettledBy(search: Search, outcome: MtuOutcome): boolean {
  if (outcome === "answered") {
    search.low = search.size;
    search.silent = 0;
    search.isAnswered = true;
    return true;
  }
  if (outcome === "lost" && ++search.silent < TRIES) return false;
  search.high = search.size;
  return true;
}

function tryNext(search: Search, size: number): void {
  search.size = size;
  search.silent = 0;
}

/** Undefined: the size is found. */
function nextSize({ low, high, full }: Search, hint: number | undefined): number | undefined {
  if (low === full || high - low <= CLOSE_BYTES) return hintIn(low, high, hint);
  const hinted = hintIn(low, high, hint);
  if (hinted !== undefined) return hinted;
  const between = plateaus.filter((size) => size > low && size < high);
  return between[between.length >> 1] ?? (low + high) >> 1;
}

function hintIn(low: number, high: number, hint: number | undefined): number | undefined {
  return hint !== undefined && hint > low && hint < high ? hint : undefined;
}
