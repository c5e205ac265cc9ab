// What the prober is given and gives: its outer world, and the peers of one network in it. Types, and what it keeps of each.
import type { Address, Family, Prefix } from "../ip/address.ts";
import type { EchoPort } from "./echo-exchange.ts";
import type { PathMtuFound } from "./path-mtu.ts";
import type { ProbePath } from "./probe-path.ts";
import type { ProbeRecorder } from "./probe-recorder.ts";
import type { PathState, ProbedPath, Turn } from "./probed-path.ts";
import type { ProbedPeer } from "./probed-peer.ts";

export interface ProberOptions {
  /** Between two probes of a peer in order, at least; 1,000 or more. */
  readonly intervalMs: number;
  readonly openPort: (family: Family) => EchoPort;
  /** See `askByTcp`. */
  readonly askByTcp: (target: Address, timeoutMs: number) => Promise<boolean>;
  /** See `hearTraffic`. */
  readonly hearTraffic: (subnet: Prefix, timeoutMs: number, signal: AbortSignal) => Promise<boolean | undefined>;
  readonly monotonicMs: () => number;
  readonly wallMs: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
}

export interface PathChange {
  readonly path: ProbedPath;
  readonly from: PathState;
}

export interface ProbedNetworkOptions {
  readonly recorder: ProbeRecorder;
  /** Must not throw. */
  readonly onChange: (change: PathChange) => void;
  /** The path carries another size than before, or it is known now. Must not throw. */
  readonly onMtu: (path: ProbedPath, before: PathMtuFound | undefined) => void;
  /** Probes of a family cannot be sent. Must not throw. */
  readonly onProblem: (reason: string) => void;
}

/** The peers of one network. */
export interface ProbedNetwork extends Disposable {
  /** All there are now. What is known of paths that stay is kept. */
  setPaths(paths: readonly ProbePath[]): void;
  readonly peers: readonly ProbedPeer[];
  /** Why nothing of a family is probed. */
  problem(family: Family): string | undefined;
}

export interface Owner {
  readonly peer: ProbedPeer;
  readonly path: ProbedPath;
  readonly turn: Turn;
  readonly network: NetworkPeers;
}

export class NetworkPeers {
  readonly options: ProbedNetworkOptions;
  peers: ReadonlyMap<string, ProbedPeer> = new Map();
  /** The bridge of our own containers: by address, when it was last found missing. */
  readonly noSource = new Map<Address, number>();
  /** Source addresses with which a probe has left. */
  readonly usedSources = new Set<Address>();

  constructor(options: ProbedNetworkOptions) {
    this.options = options;
  }
}
