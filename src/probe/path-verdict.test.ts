import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import {
  type Asked,
  type Liveness,
  lossesNeeded,
  type Outcome,
  PathVerdict,
  type VerdictFacts,
} from "./path-verdict.ts";

const tunnel: VerdictFacts = { mainIsAlwaysThere: true, hasUnderlay: true };
const bridge: VerdictFacts = { mainIsAlwaysThere: false, hasUnderlay: true };

/** A path as it is probed: once a second what the verdict wants to know next, answered by `world`. */
class Course {
  readonly verdict: PathVerdict;
  readonly seen: Liveness[] = [];
  nowMs = 0;

  constructor(facts: VerdictFacts) {
    this.verdict = new PathVerdict(facts);
  }

  probe(world: Readonly<Partial<Record<Asked, Outcome>>>, times = 1): void {
    for (let count = 0; count < times; count++) {
      const asked = this.verdict.isInDoubt ? this.verdict.next : "main";
      this.verdict.take(asked, world[asked] ?? "lost", this.nowMs, this.nowMs + 600, 4);
      this.seen.push(this.verdict.liveness);
      this.nowMs += 1_000;
    }
  }
}

/** As the prober does it: what the witness hears is told with its outcome. */
function withTraffic(course: Course, hasTraffic: boolean | undefined, times: number): void {
  for (let count = 0; count < times; count++) {
    course.verdict.setTraffic(hasTraffic);
    course.probe({});
  }
}

const well = { main: "answered", underlay: "answered", witness: "answered" } as const;

describe("a peer that answered and then falls silent", () => {
  test("is suspect with the third loss and down with the fifth probe, as its host does not answer either", () => {
    const course = new Course(tunnel);
    course.probe(well, 3);
    course.probe({}, 6);
    expect(course.seen.slice(3)).toEqual(["up", "up", "suspect", "suspect", "down", "down"]);
    course.probe(well, 2);
    expect(course.seen.slice(-2)).toEqual(["down", "up"]);
  });

  test("is not down while containers there and here talk: it filters probes, and nobody knows more", () => {
    const course = new Course(tunnel);
    course.probe(well, 3);
    withTraffic(course, true, 12);
    expect(course.seen.slice(5)).toEqual(["suspect", "suspect", ...Array.from({ length: 8 }, () => "unknown")]);
    expect(course.verdict.hasTraffic).toBe(true);
    withTraffic(course, false, 2);
    expect(course.verdict.liveness).toBe("down");
    course.probe(well, 2);
    expect(course.verdict.liveness).toBe("up");
  });

  test("nobody listened: what was heard before still counts", () => {
    const course = new Course(tunnel);
    course.probe(well, 3);
    withTraffic(course, true, 8);
    withTraffic(course, undefined, 8);
    expect(course.verdict.liveness).toBe("unknown");
  });

  test("one loss, or two, is nothing", () => {
    const course = new Course(tunnel);
    course.probe(well, 3);
    for (let round = 0; round < 20; round++) {
      course.probe({}, 2);
      course.probe(well);
    }
    expect(new Set(course.seen)).toEqual(new Set(["up"]));
  });

  test("its bridge may be gone where only that answered: unknown, unless the peer says that it is there", () => {
    const course = new Course(bridge);
    course.probe(well, 3);
    course.probe({ underlay: "answered" }, 6);
    expect(course.verdict.liveness).toBe("unknown");
    course.verdict.setBridge(true);
    course.probe({ underlay: "answered" }, 2);
    expect(course.verdict.liveness).toBe("down");
    course.verdict.nobodyThere();
    course.probe({ underlay: "answered" }, 2);
    expect(course.verdict.liveness).toBe("unknown");
  });

  test("ICMP alone is filtered: TCP answers, and it stays up", () => {
    const course = new Course(tunnel);
    course.probe(well, 3);
    course.probe({ witness: "answered" }, 30);
    expect(course.verdict.liveness).toBe("up");
    expect(course.verdict.isIcmpFiltered).toBe(true);
    // Then TCP falls silent, too.
    for (let count = 0; count < 6; count++) course.verdict.take("witness", "lost", course.nowMs++, course.nowMs, 4);
    course.verdict.take("underlay", "lost", course.nowMs, course.nowMs, 4);
    expect(course.verdict.liveness).toBe("down");
  });
});

test("who never answered is unknown, but not where an answer is sure to come from a host that lives", () => {
  for (const facts of [tunnel, bridge]) {
    const silent = new Course(facts);
    silent.probe({}, 30);
    expect(silent.verdict.liveness).toBe("unknown");
    const lives = new Course(facts);
    lives.probe({ underlay: "answered" }, 30);
    expect(lives.verdict.liveness).toBe(facts === tunnel ? "down" : "unknown");
    const cannotBeReached = new Course(facts);
    cannotBeReached.probe({ underlay: "refused" }, 30);
    expect(cannotBeReached.verdict.liveness).toBe("down");
  }
});

describe("one way", () => {
  function course(says: (course: Course) => void): Liveness {
    const one = new Course(tunnel);
    one.probe(well, 3);
    for (let count = 0; count < 8; count++) {
      one.probe({ underlay: "answered" });
      says(one);
    }
    return one.verdict.liveness;
  }

  test("by what is heard of the peer, and by what the peer says to have heard", () => {
    expect(course(() => undefined)).toBe("down");
    expect(course(({ verdict, nowMs }) => verdict.heard(nowMs))).toBe("oneWayOut");
    expect(course(({ verdict, nowMs }) => verdict.heardByPeer(nowMs))).toBe("oneWayIn");
    // Replies alone get lost, or requests are forged.
    expect(
      course(({ verdict, nowMs }) => {
        verdict.heard(nowMs);
        verdict.heardByPeer(nowMs);
      }),
    ).toBe("unknown");
    // Of before the losses, or of the moment of the first one.
    expect(course(({ verdict }) => verdict.heardByPeer(3_050))).toBe("down");
  });

  test("not by what is heard before the next probe had its chance: the way may just have been mended", () => {
    const one = new Course(tunnel);
    one.probe(well, 3);
    one.probe({}, 8);
    one.verdict.heard(one.nowMs - 200);
    one.verdict.heardByPeer(one.nowMs - 200);
    one.verdict.take("underlay", "answered", one.nowMs, one.nowMs + 10, 4);
    expect(one.verdict.liveness).toBe("down");
    expect([one.verdict.isInDoubt, one.verdict.next]).toEqual([true, "main"]);
    one.probe(well, 2);
    expect(one.seen.slice(-2)).toEqual(["down", "up"]);
  });

  test("as soon as a probe gets lost that was sent after the peer was heard", () => {
    const one = new Course(tunnel);
    one.probe(well, 3);
    one.probe({}, 8);
    one.verdict.heard(one.nowMs - 200);
    one.probe({});
    expect(one.verdict.liveness).toBe("oneWayOut");
  });
});

/** One end of a path, which probes once a second and reads what came ten times a second, as the prober does. */
class End {
  readonly verdict = new PathVerdict(tunnel);
  readonly seen = new Set<Liveness>();
  readonly phaseMs: number;
  readonly later: { readonly atMs: number; readonly happens: () => void }[] = [];
  turn: number;

  constructor(phaseMs: number, turn: number) {
    this.phaseMs = phaseMs;
    this.turn = turn;
  }

  tick(nowMs: number, other: End, isWhole: boolean): void {
    for (const one of this.later.splice(0)) {
      if (one.atMs <= nowMs) one.happens();
      else this.later.push(one);
    }
    this.seen.add(this.verdict.liveness);
    if (nowMs % 1_000 !== this.phaseMs) return;
    const asked = this.#nextAsked();
    const take = (outcome: Outcome, atMs: number) => this.verdict.take(asked, outcome, nowMs, atMs, 4);
    if (!isWhole) {
      this.later.push({ atMs: nowMs + 600, happens: () => take("lost", nowMs + 600) });
      return;
    }
    const heardAtMs = this.verdict.heardAtMs;
    const readAtMs = nowMs + 100;
    const happens = () => {
      if (asked === "main") other.verdict.heard(readAtMs);
      if (asked !== "witness") other.verdict.heardByPeer(heardAtMs);
    };
    other.later.push({ atMs: readAtMs, happens });
    const isAnswered = () => {
      if (asked === "main") this.verdict.heard(readAtMs);
      take("answered", readAtMs);
    };
    this.later.push({ atMs: readAtMs, happens: isAnswered });
  }

  #nextAsked(): Asked {
    this.turn++;
    if (this.verdict.isInDoubt) return this.verdict.next;
    if (this.verdict.liveness === "up") return "main";
    return this.turn % 4 === 1 ? "underlay" : this.turn % 16 === 7 ? "witness" : "main";
  }
}

test("both ends of a cable that is cut and mended find each other up, down and up, and nothing else", () => {
  const tenths = (max: number) => fc.integer({ min: 0, max }).map((count) => count * 100);
  const end = fc.record({ phaseMs: tenths(9), turn: fc.nat(15) });
  fc.assert(
    fc.property(end, end, tenths(9), tenths(400), (first, second, cutMs, lengthMs) => {
      const ends = [new End(first.phaseMs, first.turn), new End(second.phaseMs, second.turn)] as const;
      const cutAtMs = 5_000 + cutMs;
      const mendedAtMs = cutAtMs + lengthMs;
      for (let nowMs = 0; nowMs < mendedAtMs + 6_000; nowMs += 100) {
        const isWhole = nowMs < cutAtMs || nowMs >= mendedAtMs;
        ends[0].tick(nowMs, ends[1], isWhole);
        ends[1].tick(nowMs, ends[0], isWhole);
        if (nowMs === 4_900) for (const { seen } of ends) seen.clear();
      }
      for (const { seen, verdict } of ends) {
        expect([...seen].filter((one) => one.startsWith("oneWay") || one === "unknown")).toEqual([]);
        expect(verdict.liveness).toBe("up");
      }
    }),
    propertyRuns(20_000),
  );
});

test("more losses are needed where more get lost at random", () => {
  const needed = [0, 0.001, 0.01, 0.02, 0.05, 0.1, 1].map(lossesNeeded);
  expect(needed).toEqual([4, 4, 5, 5, 7, 9, 10]);
});

// The oracle goes through the whole history for each verdict and keeps nothing.
interface Happened {
  readonly asked: Asked;
  readonly outcome: Outcome;
  readonly atMs: number;
}

/** Main probes since the last answer, newest last. */
function silence(history: readonly Happened[]): readonly Happened[] {
  const last = history.findLastIndex(({ asked, outcome }) => asked === "main" && outcome === "answered");
  return history.slice(last + 1);
}

test("no sequence of outcomes makes a verdict that its history does not bear out", () => {
  const outcomes = fc.constantFrom<Outcome>("answered", "lost", "refused");
  const worlds = fc.array(fc.record({ main: outcomes, underlay: outcomes }), { maxLength: 40 });
  fc.assert(
    fc.property(worlds, fc.boolean(), fc.integer({ min: 4, max: 8 }), (sequence, isTunnel, needed) => {
      const verdict = new PathVerdict(isTunnel ? tunnel : bridge);
      const history: Happened[] = [];
      for (const [index, world] of sequence.entries()) {
        const asked = verdict.isInDoubt ? verdict.next : "main";
        const atMs = index * 1_000;
        const outcome = asked === "witness" ? "lost" : world[asked];
        history.push({ asked, outcome, atMs });
        verdict.take(asked, outcome, atMs, atMs + 600, needed);
        const mains = history.filter((one) => one.asked === "main");
        const lostMains = silence(history).filter((one) => one.asked === "main").length;
        const hasAnswered = mains.some((one) => one.outcome === "answered");
        const lastThree = mains.slice(-3).filter((one) => one.outcome === "answered").length;
        switch (verdict.liveness) {
          case "up":
            expect(hasAnswered && lostMains < 3).toBe(true);
            break;
          case "suspect":
            expect(hasAnswered && lastThree < 2).toBe(true);
            break;
          case "down": {
            // An answer was possible: there was one before, or its host lives where the tunnel is always there, or cannot be reached.
            const underlay = history.filter((one) => one.asked === "underlay");
            expect(underlay.length).toBeGreaterThan(0);
            const isSure = underlay.some(
              (one) => one.outcome === "refused" || (isTunnel && one.outcome === "answered"),
            );
            expect(hasAnswered || isSure).toBe(true);
            expect(lastThree).toBeLessThan(2);
            expect(history.some((one) => one.asked === "witness")).toBe(true);
            break;
          }
          case "unknown":
            break;
          default:
            expect.unreachable(`${verdict.liveness} without anything heard`);
        }
        // And the other way round.
        if (lastThree >= 2 && lostMains === 0) expect(verdict.liveness).toBe("up");
      }
    }),
    propertyRuns(20_000),
  );
});
