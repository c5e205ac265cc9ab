// Logs what probes found: one line for each change, one for all when many peers change at once, and few for a peer that
// keeps changing.
import { Debounce } from "../../async/debounce.ts";
import type { PathMtuFound } from "../../probe/path-mtu.ts";
import type { PathChange } from "../../probe/probed-network.ts";
import type { PathState, ProbedPath } from "../../probe/probed-path.ts";
import type { Logger } from "../../telemetry/logger.ts";

/** Changes within that time are reported together when they are many. */
const GATHER_MS = 1_000;
const ONE_BY_ONE = 5;
/** Of one path, beside one that says that it answers, and one that it is well. */
const LINES = 4;
const WITHIN_MS = 10 * 60_000;

/** States in which packets pass in both directions. */
const answering: ReadonlySet<PathState> = new Set(["up", "slow", "mtuBroken"]);

export interface LogClock {
  readonly monotonicMs: () => number;
}

interface LoggedPath {
  /** As of the last line. */
  state: PathState;
  readonly linesAtMs: number[];
  /** No line names it yet. */
  isNew: boolean;
  held: number;
}

export class ProbeLog implements Disposable {
  readonly #logger: Logger;
  readonly #clock: LogClock;
  readonly #logged = new WeakMap<ProbedPath, LoggedPath>();
  readonly #gathered = new Set<ProbedPath>();
  readonly #gathering = new Debounce(() => this.flush());

  constructor(logger: Logger, clock: LogClock = { monotonicMs: () => performance.now() }) {
    this.#logger = logger;
    this.#clock = clock;
  }

  follow({ path, from }: PathChange): void {
    const { subnet } = path.path;
    this.#logger.verbose(1, "probe.changed", () => `${subnet}: ${from}, now ${path.state}${reasonOf(path)}`);
    if (!this.#logged.has(path)) this.#logged.set(path, { state: from, linesAtMs: [], isNew: true, held: 0 });
    this.#gathered.add(path);
    this.#gathering.request(GATHER_MS, true);
  }

  /** What is as it should be at the first look is no news. */
  logMtu({ path, mtu }: ProbedPath, before: PathMtuFound | undefined): void {
    const found = mtu.found;
    if (found === undefined || (before === undefined && found.wholeBytes >= path.overlayMtuBytes)) return;
    const was = before === undefined ? `not ${path.overlayMtuBytes}` : `before ${before.wholeBytes}`;
    const arrives = found.overlayBytes > found.wholeBytes ? `, in pieces ${found.overlayBytes}` : "";
    const { subnet, underlay = "an unknown host", peer } = path;
    this.#logger.info(
      "probe.mtu-changed",
      `the path to ${subnet} of ${underlay} carries packets of ${found.wholeBytes} bytes whole${arrives}, ${was}`,
      { peer, mtuBytes: found.wholeBytes },
    );
  }

  /** Logs what was gathered. */
  flush(): void {
    this.#gathering.cancel();
    const changed = [...this.#gathered].filter((path) => this.#isNews(path));
    this.#gathered.clear();
    if (changed.length <= ONE_BY_ONE) for (const path of changed) this.#say(path);
    else this.#sayTogether(changed);
  }

  [Symbol.dispose](): void {
    this.#gathering.cancel();
  }

  /** Suspicion is none, nor is what everybody expects of a peer that is new. */
  #isNews(path: ProbedPath): boolean {
    const logged = this.#logged.get(path);
    if (logged === undefined || path.state === "suspect" || path.state === logged.state) return false;
    if (logged.isNew && logged.state === "unknown" && path.state === "up") {
      logged.state = path.state;
      return false;
    }
    const nowMs = this.#clock.monotonicMs();
    while ((logged.linesAtMs[0] ?? nowMs) < nowMs - WITHIN_MS) logged.linesAtMs.shift();
    // Whatever was held: the log calls no peer silent that answers again, and none ill that is well.
    const isBetter = path.state === "up" || (answering.has(path.state) && !answering.has(logged.state));
    if (logged.linesAtMs.length >= LINES && !isBetter) {
      logged.held++;
      return false;
    }
    logged.linesAtMs.push(nowMs);
    logged.state = path.state;
    logged.isNew = false;
    return true;
  }

  #say(path: ProbedPath): void {
    const { subnet, underlay, peer } = path.path;
    const logged = this.#logged.get(path);
    const before =
      logged === undefined || logged.held === 0 ? "" : ` (${logged.held} changes before were not reported)`;
    if (logged !== undefined) logged.held = 0;
    const host = underlay === undefined ? "" : ` of ${underlay}`;
    const message = `peer ${subnet}${host} ${wordsOf(path)}${reasonOf(path)}${before}`;
    const fields = { peer, state: path.state, signature: path.signature };
    if (path.state === "down") this.#logger.warn("probe.peer-down", message, fields);
    else if (path.state === "oneWay") this.#logger.warn("probe.peer-one-way", message, fields);
    else if (path.state === "mtuBroken") this.#logger.warn("probe.peer-mtu", message, fields);
    else if (path.state === "slow") this.#logger.warn("probe.peer-slow", message, fields);
    else if (path.state === "unknown") this.#logger.info("probe.peer-unknown", message, fields);
    else this.#logger.info("probe.peer-up", message, fields);
  }

  #sayTogether(paths: readonly ProbedPath[]): void {
    const counts = new Map<string, number>();
    for (const { state } of paths) counts.set(state, (counts.get(state) ?? 0) + 1);
    const shown = [...counts].map(([state, count]) => `${count} ${state}`).join(", ");
    const some = paths.slice(0, ONE_BY_ONE).map(({ path }) => path.subnet);
    this.#logger.warn("probe.many-changed", `${paths.length} peers changed: ${shown}; among them ${some.join(", ")}`);
  }
}

function wordsOf({ state }: ProbedPath): string {
  switch (state) {
    case "down":
      return "is down";
    case "oneWay":
      return "is reached in one direction alone";
    case "slow":
      return "is slow";
    case "mtuBroken":
      return "gets no large packets";
    case "unknown":
      return "cannot be judged";
    case "up":
    case "suspect":
      return "answers";
  }
}

function reasonOf({ why }: ProbedPath): string {
  return why === undefined ? "" : `: ${why}`;
}
