// One peer of a network: its paths, of one family or two, which share its turns. Pure.
import type { ProbePath } from "./probe-path.ts";
import { ProbedPath } from "./probed-path.ts";

export class ProbedPeer {
  /** Of its lease. */
  readonly key: string;
  readonly paths: readonly ProbedPath[];
  lastSentMs = Number.NEGATIVE_INFINITY;
  #next = 0;

  constructor(key: string, paths: readonly ProbedPath[]) {
    this.key = key;
    this.paths = paths;
  }

  /** By key of the lease; a peer whose paths are as before is the same object, and a path that is as before as well. */
  static group(
    paths: readonly ProbePath[],
    known: ReadonlyMap<string, ProbedPeer>,
    now: { readonly ms: number; readonly wallMs: number },
  ): ReadonlyMap<string, ProbedPeer> {
    const byPeer = new Map<string, ProbePath[]>();
    for (const path of paths) {
      const ofPeer = byPeer.get(path.peer);
      if (ofPeer === undefined) byPeer.set(path.peer, [path]);
      else ofPeer.push(path);
    }
    const peers = new Map<string, ProbedPeer>();
    for (const [key, ofPeer] of byPeer) {
      const before = known.get(key);
      const next = ofPeer.map(
        (path) => before?.paths.find((old) => old.isSameAs(path)) ?? new ProbedPath(path, now.ms, now.wallMs),
      );
      const isSame =
        before !== undefined &&
        before.paths.length === next.length &&
        next.every((path) => before.paths.includes(path));
      const peer = isSame ? before : new ProbedPeer(key, next);
      if (!isSame && before !== undefined) peer.lastSentMs = before.lastSentMs;
      peers.set(key, peer);
    }
    return peers;
  }

  /** Paths in doubt first, else one after the other. */
  nextPath(): ProbedPath | undefined {
    const doubtful = this.paths.filter(({ verdict, isUrgent }) => verdict.isInDoubt || isUrgent);
    const from = doubtful.length > 0 ? doubtful : this.paths;
    return from[this.#next++ % from.length];
  }
}
