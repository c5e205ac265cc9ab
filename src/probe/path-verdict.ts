// What is known of one path by its probes: the state machine of a verdict. It has no clock and sends nothing: it gets to know what
// happened and when, in ms of a clock that does not jump. Pure.
//
//   unknown ──answer──► up ──3 lost──► suspect ──enough lost, and the witnesses asked──► down, oneWay or unknown
//                        ▲                │                                               │
//                        └────────────────┴────────── 2 of 3 answered ────────────────────┘
//
// Lost is what had no answer in time. One loss is never a verdict, and silence where nobody may be able to answer is
// `unknown`. Before `down`, the peer's public address and a second witness (TCP through the tunnel) are asked, and it is heard whether containers
// here and there talk.

export type Liveness = "unknown" | "up" | "suspect" | "down" | "oneWayOut" | "oneWayIn";

/** `refused`: an error came back that says that the packet cannot get there. */
export type Outcome = "answered" | "lost" | "refused";

/** main: what stands for the peer; underlay: outside the tunnel; witness: the same way as main, but not by ICMP. */
export type Asked = "main" | "underlay" | "witness";

export interface VerdictFacts {
  /** A tunnel device has its address always; a bridge comes with the first container. */
  readonly mainIsAlwaysThere: boolean;
  readonly hasUnderlay: boolean;
}

const SUSPECT_AFTER = 3;
/** Of three. */
const UP_AFTER = 2;
/** What was heard of the peer counts for so long while it does not answer. */
const HEARD_WITHIN_MS = 30_000;
/** What came in the moment in which the losses began says nothing. */
const AT_ONCE_MS = 1_000;
/** Connections pause: so many of them count on after the last that heard some. */
const WITNESSES_OF_TRAFFIC = 2;

interface Reply {
  readonly sentAtMs: number;
  readonly outcome: Outcome;
}

export class PathVerdict {
  readonly #facts: VerdictFacts;
  #liveness: Liveness = "unknown";
  /** The last three outcomes of main, newest last. */
  #recent: readonly boolean[] = [];
  #lostInRow = 0;
  #firstLostAtMs = 0;
  #hasAnswered = false;
  #underlay: Reply | undefined;
  #witness: Reply | undefined;
  #heardAtMs = Number.NEGATIVE_INFINITY;
  /** The oldest that was heard since `#heardInVainMs`; undefined: nothing. */
  #heardFirstAtMs: number | undefined;
  /** The newest that is known to be heard before a probe was sent that got lost: packets came, and an answer did not. */
  #heardInVainMs = Number.NEGATIVE_INFINITY;
  #heardByPeerAtMs = Number.NEGATIVE_INFINITY;
  #peerHasBridge = false;
  /** The peer itself says that nobody has the address. */
  #isNobodyThere = false;
  /** ICMP gets no answer, and the witness does. */
  #isIcmpFiltered = false;
  /** Above 0: TCP between containers here and there goes on, by the newest witness or the one before. */
  #trafficLeft = 0;

  constructor(facts: VerdictFacts) {
    this.#facts = facts;
  }

  get liveness(): Liveness {
    return this.#liveness;
  }

  /** In a row, of what stands for the peer. */
  get lostInRow(): number {
    return this.#lostInRow;
  }

  /** ICMP through the tunnel gets no answer, but TCP does. */
  get isIcmpFiltered(): boolean {
    return this.#isIcmpFiltered;
  }

  /** Whether anybody ever answered in the peer's place. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** Of the newest probe outside of the tunnel. */
  get underlay(): Outcome | undefined {
    return this.#underlay?.outcome;
  }

  /** When something of the peer last came through the tunnel; minus infinity: never. */
  get heardAtMs(): number {
    return this.#heardAtMs;
  }

  /** Something is to be found out: the next probes of this path come soon. */
  get isInDoubt(): boolean {
    if (this.#liveness === "suspect") return true;
    if (this.#liveness === "up") return this.#lostInRow > 0;
    // Otherwise the first sign of life after the losses, and what was never judged.
    if (this.#lostInRow === 0 || this.#isHeardNew) return true;
    return this.#liveness === "unknown" && this.#isUndecided();
  }

  /** Its probes go before those of others: also while it has to be kept apart from `down` by what is heard of the peer. */
  get isUrgent(): boolean {
    return this.isInDoubt || this.#liveness === "oneWayIn" || this.#liveness === "oneWayOut";
  }

  /** What has to be asked next to get on, of a path in doubt. */
  get next(): Asked {
    if (this.#lostInRow < SUSPECT_AFTER) return this.#isIcmpFiltered ? "witness" : "main";
    if (this.#facts.hasUnderlay && this.#since(this.#underlay) === undefined) return "underlay";
    if (!this.#isIcmpFiltered && this.#since(this.#witness) === undefined) return "witness";
    return this.#isIcmpFiltered ? "witness" : "main";
  }

  /** `needed`: how many lost in a row are enough for a verdict (see `lossesNeeded`). */
  take(asked: Asked, outcome: Outcome, sentAtMs: number, nowMs: number, needed: number): void {
    const isLost = outcome !== "answered";
    // Nothing else is to be expected of it; an answer would be news.
    if (asked === "main" && isLost && this.#isIcmpFiltered) return;
    if (asked === "underlay") this.#underlay = { sentAtMs, outcome };
    else if (asked === "witness" && !this.#isIcmpFiltered) this.#takeWitness(outcome, sentAtMs);
    else if (!isLost) this.#takeAnswer(asked);
    else this.#takeLoss(sentAtMs);
    this.#decide(nowMs, needed);
  }

  /** A probe of the peer came through the tunnel, or something else of it that proves the way from it to us. */
  heard(nowMs: number): void {
    this.#heardAtMs = Math.max(this.#heardAtMs, nowMs);
    this.#heardFirstAtMs ??= nowMs;
  }

  /** The peer says that something of ours came to it through the tunnel, then. */
  heardByPeer(heardAtMs: number): void {
    this.#heardByPeerAtMs = Math.max(this.#heardByPeerAtMs, heardAtMs);
  }

  setBridge(hasBridge: boolean): void {
    this.#peerHasBridge = hasBridge;
  }

  /** With the next outcome of the witness: whether TCP of the peer's containers goes on; undefined: nobody listened. */
  setTraffic(hasTraffic: boolean | undefined): void {
    if (hasTraffic === undefined) return;
    this.#trafficLeft = hasTraffic ? WITNESSES_OF_TRAFFIC : Math.max(0, this.#trafficLeft - 1);
  }

  /** No probe is answered, and containers talk all the same: the peer filters probes. */
  get hasTraffic(): boolean {
    return this.#trafficLeft > 0 && this.#liveness === "unknown";
  }

  /** The peer's own host answered that it knows nobody with the address. */
  nobodyThere(): void {
    this.#isNobodyThere = true;
  }

  #takeWitness(outcome: Outcome, sentAtMs: number): void {
    this.#witness = { sentAtMs, outcome };
    if (outcome === "answered") {
      this.#isIcmpFiltered = true;
      this.#trafficLeft = 0;
      this.#becomeUp();
    } else if (this.#lostInRow > 0) this.#lostInRow++;
  }

  #takeAnswer(asked: Asked): void {
    this.#hasAnswered = true;
    this.#isNobodyThere = false;
    if (asked === "main") this.#isIcmpFiltered = false;
    this.#recent = [...this.#recent, true].slice(-3);
    this.#lostInRow = 0;
    this.#trafficLeft = 0;
    const answered = this.#recent.filter((isAnswered) => isAnswered).length;
    if (this.#liveness === "unknown" || answered >= UP_AFTER) this.#becomeUp();
  }

  #becomeUp(): void {
    this.#liveness = "up";
    this.#lostInRow = 0;
  }

  #takeLoss(sentAtMs: number): void {
    this.#recent = [...this.#recent, false].slice(-3);
    if (this.#lostInRow === 0) this.#firstLostAtMs = sentAtMs;
    this.#lostInRow++;
    this.#weighHeard(sentAtMs);
    if (this.#lostInRow >= SUSPECT_AFTER && this.#liveness === "up") this.#liveness = "suspect";
  }

  /** What was heard only after the lost probe was sent says nothing against an answer to the next one. */
  #weighHeard(lostSentAtMs: number): void {
    if (this.#heardFirstAtMs === undefined || this.#heardFirstAtMs > lostSentAtMs) return;
    const isAllBefore = this.#heardAtMs <= lostSentAtMs;
    this.#heardInVainMs = isAllBefore ? this.#heardAtMs : this.#heardFirstAtMs;
    this.#heardFirstAtMs = isAllBefore ? undefined : this.#heardAtMs;
  }

  /** The peer was heard, and no probe sent since is known to be lost: the way may just have been mended in both directions. */
  get #isHeardNew(): boolean {
    const fromMs = this.#firstLostAtMs + AT_ONCE_MS;
    return this.#heardAtMs >= fromMs && this.#heardInVainMs < Math.max(fromMs, this.#heardAtMs - HEARD_WITHIN_MS);
  }

  /** Its outcome, unless it is of before the losses began. */
  #since(reply: Reply | undefined): Outcome | undefined {
    if (reply === undefined) return undefined;
    return reply.sentAtMs >= this.#firstLostAtMs ? reply.outcome : undefined;
  }

  /** Witnesses that were not asked yet might know better. */
  #isUndecided(): boolean {
    if (this.#lostInRow < SUSPECT_AFTER) return true;
    if (this.#facts.hasUnderlay && this.#since(this.#underlay) === undefined) return true;
    return !this.#isIcmpFiltered && this.#since(this.#witness) === undefined;
  }

  #decide(nowMs: number, needed: number): void {
    const isOpen = this.#liveness === "suspect" || this.#liveness === "unknown";
    if (this.#isUndecided()) return;
    if (isOpen && this.#lostInRow < needed) return;
    // The next probe tells whether it is one way.
    if (this.#isRecent(this.#heardAtMs, nowMs) && this.#isHeardNew) return;
    this.#liveness = this.#judge(nowMs);
  }

  #isRecent(atMs: number, nowMs: number): boolean {
    return atMs >= this.#firstLostAtMs + AT_ONCE_MS && nowMs - atMs <= HEARD_WITHIN_MS;
  }

  #judge(nowMs: number): Liveness {
    const [heard, isHeard] = [this.#isRecent(this.#heardAtMs, nowMs), this.#isRecent(this.#heardByPeerAtMs, nowMs)];
    // Requests pass both ways and replies do not; or requests are forged.
    if (heard && isHeard) return "unknown";
    if (heard) return "oneWayOut";
    if (isHeard) return "oneWayIn";
    if (this.#trafficLeft > 0 && this.#since(this.#witness) !== undefined) return "unknown";
    const { mainIsAlwaysThere } = this.#facts;
    switch (this.#since(this.#underlay)) {
      case "answered":
        if (this.#isNobodyThere) return "unknown";
        return mainIsAlwaysThere || this.#peerHasBridge ? "down" : "unknown";
      case "refused":
        return "down";
      case "lost":
      case undefined:
        return this.#hasAnswered ? "down" : "unknown";
    }
  }
}

/**
 * How many probes lost in a row make a verdict, where `lossRatio` of this host's probes to peers that are up get lost at
 * random: so many that at 40 probes a second a wrong verdict is expected less than once in a month.
 */
export function lossesNeeded(lossRatio: number): number {
  const least = 4;
  const most = 10;
  if (lossRatio <= 0) return least;
  const wrongPerSecond = 1 / (40 * 30 * 86_400);
  return Math.min(most, Math.max(least, Math.ceil(Math.log(wrongPerSecond) / Math.log(Math.min(0.5, lossRatio)))));
}
