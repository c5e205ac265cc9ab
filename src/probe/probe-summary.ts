// What probes found of a network, in one look: how many peers are in which state, and which are not reached. Pure.
import { type PathState, pathStates } from "./probed-path.ts";
import type { ProbedPeer } from "./probed-peer.ts";

export interface ProbeSummary {
  /** Peers by the worst state of their paths. */
  readonly states: Readonly<Record<PathState, number>>;
  /** Peers of which anything is known. */
  readonly known: number;
  /** Of them, those with a path that carries no packets, or packets in one direction alone. */
  readonly unreachable: number;
  /** No path of two peers or more carries packets. */
  readonly isAll: boolean;
  /** Whom it concerns, as a clause; empty when nobody. */
  readonly evidence: string;
  /** Large packets of containers get lost on the way to them, as a clause; missing when to nobody. */
  readonly mtuEvidence?: string;
}

const NAMED = 3;
const unreachable: ReadonlySet<PathState> = new Set(["down", "oneWay"]);
/** Of two families the worse one counts; what is unknown of one is no news where the other is known. */
const rank: Readonly<Record<PathState, number>> = {
  unknown: 0,
  up: 1,
  slow: 2,
  mtuBroken: 3,
  suspect: 4,
  oneWay: 5,
  down: 6,
};

export function worstOf(states: readonly PathState[]): PathState {
  return states.reduce<PathState>((worst, state) => (rank[state] > rank[worst] ? state : worst), "unknown");
}

/** Of the first path in that state: its subnet, and why. */
function evidenceFor(state: PathState, paths: ProbedPeer["paths"]): string | undefined {
  const path = paths.find((one) => one.state === state);
  return path && `${path.path.subnet}: ${path.why ?? path.state}`;
}

export function summarizeProbes(peers: Iterable<ProbedPeer>): ProbeSummary {
  const states = Object.fromEntries(pathStates.map((state) => [state, 0])) as Record<PathState, number>;
  const named: string[] = [];
  let [known, lost, whole] = [0, 0, 0];
  let mtuEvidence: string | undefined;
  for (const { paths } of peers) {
    const worst = worstOf(paths.map(({ state }) => state));
    states[worst]++;
    if (worst === "unknown") continue;
    known++;
    mtuEvidence ??= evidenceFor("mtuBroken", paths);
    if (!unreachable.has(worst)) continue;
    lost++;
    if (paths.every(({ state }) => state === "unknown" || unreachable.has(state))) whole++;
    const evidence = evidenceFor(worst, paths);
    if (evidence !== undefined && named.length < NAMED) named.push(evidence);
  }
  const more = lost > named.length && named.length > 0 ? [`and ${lost - named.length} more`] : [];
  return {
    states,
    known,
    unreachable: lost,
    isAll: known > 1 && whole === known,
    evidence: [...named, ...more].join("; "),
    ...(mtuEvidence !== undefined && { mtuEvidence }),
  };
}
