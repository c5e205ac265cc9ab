// One path under probing: its verdict, its quality, and what is asked next. Pure.

import { type MtuOutcome, PathMtu } from "./path-mtu.ts";
import { PathQuality } from "./path-quality.ts";
import { type Asked, type Outcome, PathVerdict } from "./path-verdict.ts";
import { mainKind, type ProbeKind, type ProbePath } from "./probe-path.ts";

/** As reported. `mtuBroken`: large packets get lost; `oneWay`: packets pass in one direction alone. */
export const pathStates = ["up", "slow", "mtuBroken", "suspect", "oneWay", "down", "unknown"] as const;
export type PathState = (typeof pathStates)[number];

/** The next probe of a path: by which kind, and as what its outcome counts. */
export interface Turn {
  readonly asked: Asked | "bridge" | "mtu";
  readonly kind: ProbeKind;
  /** Of the whole packet; missing: as small as possible. */
  readonly packetBytes?: number;
}

/** Between looks at the peer's bridge, which tell what is behind the tunnel. */
const BRIDGE_EVERY_MS = 600_000;
const FIRST_BRIDGE_AFTER_MS = 5_000;
/** Of a path without answer, each fourth probe goes outside of the tunnel, and now and then one is TCP. */
const UNDERLAY_TURNS = 4;
const WITNESS_TURNS = 16;
const TURNS_BETWEEN_MTU = 100;
const LEAST_TIMEOUT_MS = 600;
const MOST_TIMEOUT_MS = 1_000;

export class ProbedPath {
  readonly path: ProbePath;
  readonly verdict: PathVerdict;
  readonly quality = new PathQuality();
  /** Of the newest answer outside of the tunnel. */
  underlayRttMs: number | undefined;
  lastReplyWallMs: number | undefined;
  /** The newest error that came back, in words; of the losses of now. */
  cause: string | undefined;
  bridge: Outcome | undefined;
  /** A probe of another kind got no answer, which may be its own matter: the next one says whether the peer lives, and soon. */
  isToBeChecked = false;
  readonly mtu: PathMtu;
  /** What the route to the peer says, where it was given less than its device has. */
  routeMtuBytes: number | undefined;
  #bridgeDueMs: number;
  #turn = 0;
  #mtuTurnDue = 0;
  state: PathState = "unknown";
  sinceWallMs: number;

  constructor(path: ProbePath, nowMs: number, nowWallMs: number) {
    this.path = path;
    this.verdict = new PathVerdict({
      mainIsAlwaysThere: mainKind(path) === "tunnel",
      hasUnderlay: path.underlay !== undefined,
    });
    this.sinceWallMs = nowWallMs;
    this.mtu = new PathMtu(
      {
        family: path.family,
        underlayMtuBytes: path.underlayMtuBytes,
        overlayMtuBytes: path.overlayMtuBytes,
        hasUnderlay: path.underlay !== undefined,
      },
      nowMs,
    );
    this.#bridgeDueMs = nowMs + FIRST_BRIDGE_AFTER_MS;
  }

  /** A path of the same addresses goes on with what is known. */
  isSameAs(path: ProbePath): boolean {
    if (path === this.path) return true;
    const { peer, subnet, underlay, tunnel, ownSubnet } = this.path;
    return (
      peer === path.peer &&
      subnet === path.subnet &&
      underlay === path.underlay &&
      tunnel === path.tunnel &&
      ownSubnet === path.ownSubnet &&
      this.path.underlayMtuBytes === path.underlayMtuBytes &&
      this.path.overlayMtuBytes === path.overlayMtuBytes
    );
  }

  get timeoutMs(): number {
    const { medianRttMs } = this.quality;
    if (medianRttMs === undefined) return MOST_TIMEOUT_MS;
    return Math.min(MOST_TIMEOUT_MS, Math.max(LEAST_TIMEOUT_MS, 300 + 4 * medianRttMs));
  }

  /** Its probes go before those of others. */
  get isUrgent(): boolean {
    return this.verdict.isUrgent || (this.isToBeChecked && this.verdict.liveness === "up");
  }

  #turnOfUp(main: Turn["kind"], nowMs: number): Turn {
    const { isIcmpFiltered } = this.verdict;
    if (this.isToBeChecked) {
      this.isToBeChecked = false;
      return { asked: isIcmpFiltered ? "witness" : "main", kind: main };
    }
    if (isIcmpFiltered) return { asked: this.#turn % 10 === 0 ? "main" : "witness", kind: main };
    const mtu = this.#mtuTurn(nowMs);
    if (mtu !== undefined) return mtu;
    if (main !== "bridge" && nowMs >= this.#bridgeDueMs) {
      this.#bridgeDueMs = nowMs + BRIDGE_EVERY_MS;
      return { asked: "bridge", kind: "bridge" };
    }
    return { asked: "main", kind: main };
  }

  nextTurn(nowMs: number): Turn {
    const { verdict } = this;
    const main = mainKind(this.path);
    this.#turn++;
    if (verdict.isInDoubt) return { asked: verdict.next, kind: verdict.next === "underlay" ? "underlay" : main };
    if (verdict.liveness === "up") return this.#turnOfUp(main, nowMs);
    if (this.#turn % UNDERLAY_TURNS === 1 && this.path.underlay !== undefined) {
      return { asked: "underlay", kind: "underlay" };
    }
    return { asked: this.#turn % WITNESS_TURNS === 7 ? "witness" : "main", kind: main };
  }

  /** Every other turn: a search is not to hide that the peer died meanwhile, and silence counts only of a path that is up. */
  #mtuTurn(nowMs: number): Turn | undefined {
    if (this.#turn % 2 === 1) return undefined;
    // With thousands of peers a turn is minutes apart, and most are to find out whether the peer lives.
    if (!this.mtu.isLooking && !this.mtu.isReduced && this.#turn < this.#mtuTurnDue) return undefined;
    const next = this.mtu.next(nowMs);
    if (next === undefined) return undefined;
    this.#mtuTurnDue = this.#turn + TURNS_BETWEEN_MTU;
    const kind = next.leg === "underlay" ? "underlay" : mainKind(this.path);
    return { asked: "mtu", kind, packetBytes: next.packetBytes };
  }

  /** What became of a probe of the path's MTU. */
  takeMtu({ kind, packetBytes = 0 }: Turn, outcome: MtuOutcome, nowMs: number): void {
    // Of a peer that died meanwhile silence says nothing about sizes.
    if (outcome === "lost" && this.verdict.lostInRow > 0) return;
    this.mtu.take(kind === "underlay" ? "underlay" : "main", packetBytes, outcome, nowMs);
  }

  /** Returns whether the state is another than before. */
  refresh(nowWallMs: number): boolean {
    const next = this.#stateNow();
    if (next === this.state) return false;
    this.state = next;
    this.sinceWallMs = nowWallMs;
    return true;
  }

  #stateNow(): PathState {
    const { liveness } = this.verdict;
    if (liveness === "oneWayIn" || liveness === "oneWayOut") return "oneWay";
    if (liveness !== "up") return liveness;
    if (this.mtu.isBroken && !this.isRepaired) return "mtuBroken";
    return this.quality.isSlow ? "slow" : "up";
  }

  /** No packet leaves for the peer that is larger than what arrives. */
  get isRepaired(): boolean {
    const arriving = this.mtu.found?.overlayBytes;
    return this.routeMtuBytes !== undefined && arriving !== undefined && this.routeMtuBytes <= arriving;
  }

  /** Which kinds answered last, as the layer that loses the packets shows by them: `underlay+ tunnel-`. */
  get signature(): string {
    const { verdict, path } = this;
    const main = mainKind(path);
    const sign = (outcome: Outcome | undefined) => (outcome === undefined ? "?" : outcome === "answered" ? "+" : "-");
    const mainOutcome = verdict.lostInRow > 0 ? "lost" : verdict.hasAnswered ? "answered" : undefined;
    return [
      `underlay${sign(verdict.underlay)}`,
      ...(main === "tunnel"
        ? [`tunnel${sign(mainOutcome)}`, `bridge${sign(this.bridge)}`]
        : [`bridge${sign(mainOutcome)}`]),
    ].join(" ");
  }

  /** Why the state is what it is, as a clause; undefined when there is nothing to say. */
  get why(): string | undefined {
    const { verdict, state } = this;
    if (state === "suspect") return `${verdict.lostInRow} probes in a row got no answer${this.#because}`;
    if (state === "down") return this.#whyDown();
    if (state === "slow") return this.#slowness();
    if (state === "mtuBroken") {
      const { overlayBytes } = this.mtu.found ?? {};
      return `packets of more than ${overlayBytes} bytes get lost, containers send up to ${this.path.overlayMtuBytes}`;
    }
    if (state === "unknown") return this.#whyUnknown();
    if (state === "up") return this.#whyUp();
    return verdict.liveness === "oneWayOut"
      ? "packets from it arrive here, ours do not arrive there"
      : "our packets arrive there, its packets do not arrive here";
  }

  #whyUp(): string | undefined {
    if (this.verdict.isIcmpFiltered) return "ICMP gets no answer, TCP does";
    if (!this.isRepaired || !this.mtu.isReduced) return undefined;
    return `the path carries less than containers send: its route has mtu ${this.routeMtuBytes}`;
  }

  get #because(): string {
    return this.cause === undefined ? "" : ` (${this.cause})`;
  }

  #whyDown(): string {
    const { underlay } = this.verdict;
    if (underlay === "answered") return `its host answers outside of the tunnel, nothing through it${this.#because}`;
    return underlay === undefined
      ? `nothing answers${this.#because}`
      : `its host does not answer either${this.#because}`;
  }

  #whyUnknown(): string {
    const { verdict, path } = this;
    if (verdict.hasTraffic) return "it answers no probe, but TCP of its containers goes on: it may filter probes";
    if (verdict.lostInRow === 0) return "no probe has been answered yet";
    const isBridge = mainKind(path) === "bridge";
    if (verdict.hasAnswered && !(isBridge && verdict.underlay === "answered")) {
      return "its probes arrive here and ours there, but no answers";
    }
    if (verdict.underlay !== "answered") return "it has never answered: ICMP may be filtered";
    return isBridge
      ? "its host answers, its bridge does not: there may be none before the first container"
      : "no probe has been answered yet";
  }

  #slowness(): string {
    const { sent, lost, rttMs, usualRttMs } = this.quality.summary();
    const slow = `${lost} of ${sent} probes lost`;
    if (rttMs === undefined || usualRttMs === undefined || lost * 10 >= sent) return slow;
    const outside =
      this.underlayRttMs === undefined ? "" : `, outside of the tunnel ${this.underlayRttMs.toFixed(1)} ms`;
    const median = this.quality.medianRttMs ?? rttMs.p50;
    return `${median.toFixed(1)} ms instead of ${usualRttMs.toFixed(1)} ms${outside}`;
  }
}
