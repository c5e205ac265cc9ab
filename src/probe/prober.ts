// Probes all peers of all networks of this host, within one budget: at most 40 probes a second leave, one for each peer and
// second. Peers in doubt come first, the others round robin in an order of chance. A round in which this process stood still is
// not judged.
import type { Address, Family } from "../ip/address.ts";
import {
  EchoExchange,
  type HeardRequest,
  isUnreachable,
  type OutgoingProbe,
  type ProbeResult,
  type Settled,
} from "./echo-exchange.ts";
import { LossMeter } from "./loss-meter.ts";
import { lossesNeeded } from "./path-verdict.ts";
import type { ProbePath } from "./probe-path.ts";
import { networkTagOf } from "./probe-payload.ts";
import {
  NetworkPeers,
  type Owner,
  type ProbedNetwork,
  type ProbedNetworkOptions,
  type ProberOptions,
} from "./probed-network.ts";
import type { ProbedPath } from "./probed-path.ts";
import { ProbedPeer } from "./probed-peer.ts";
import { RequestMap } from "./request-map.ts";
import { Rotation } from "./rotation.ts";

/** A little more than a tenth of a second, so that ten ticks are never less than a second. */
const TICK_MS = 102;
const PER_TICK = 4;
/** Peers in doubt get no more, so that the others go on. */
const DOUBTS_PER_TICK = 2;
const LEAST_GAP_MS = 1_000;
const LEAST_PERIOD_MS = 10 * TICK_MS;
/** A tick that comes later says that this process got no processor time. */
const STARVED_MS = 200;
/** An address that this host lacks is not tried again at once. */
const NO_SOURCE_MS = 10_000;

export class Prober implements Disposable {
  readonly #options: ProberOptions;
  readonly #exchange: EchoExchange<Owner>;
  readonly #networks = new Set<NetworkPeers>();
  readonly #networkOf = new Map<ProbedPeer, NetworkPeers>();
  readonly #rotation: Rotation<ProbedPeer>;
  /** The one that waited longest first. */
  readonly #doubts = new Set<ProbedPeer>();
  readonly #requests = new RequestMap();
  readonly #losses = new LossMeter();
  #timer: NodeJS.Timeout | undefined;
  #dueMs = 0;
  #isClosed = false;

  constructor(options: ProberOptions) {
    this.#options = options;
    this.#exchange = new EchoExchange(options.openPort, (reason) => {
      for (const network of this.#networks) network.options.onProblem(reason);
    });
    this.#rotation = new Rotation(options.random);
  }

  network(options: ProbedNetworkOptions): ProbedNetwork {
    const network = new NetworkPeers(options);
    this.#networks.add(network);
    return {
      setPaths: (next) => this.#setPaths(network, next),
      get peers() {
        return [...network.peers.values()];
      },
      problem: (family) => this.#exchange.problem(family),
      [Symbol.dispose]: () => {
        this.#setPaths(network, []);
        this.#networks.delete(network);
      },
    };
  }

  /** Begins by itself as soon as there are peers. */
  #start(): void {
    if (this.#isClosed || this.#timer !== undefined || this.#networkOf.size === 0) return;
    // Hosts that start together are not to probe together.
    this.#dueMs = this.#options.monotonicMs() + TICK_MS * (1 + this.#options.random());
    this.#arm();
  }

  #arm(): void {
    const waitMs = Math.max(1, this.#dueMs - this.#options.monotonicMs());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.tick();
      if (!this.#isClosed && this.#networkOf.size > 0) this.#arm();
    }, waitMs);
    this.#timer.unref();
  }

  /** One turn of a tenth of a second: takes what came, sends what is due. Called by the prober's own timer. */
  tick(): void {
    const nowMs = this.#options.monotonicMs();
    const isStarved = this.#dueMs > 0 && nowMs - this.#dueMs > STARVED_MS;
    this.#dueMs = isStarved ? nowMs + TICK_MS : Math.max(this.#dueMs + TICK_MS, nowMs);
    const { settled, requests, isFlooded } = this.#exchange.receive(nowMs);
    for (const one of settled) this.#settle(one, nowMs);
    for (const request of requests) this.#hear(request, nowMs);
    if (isStarved || isFlooded) this.#discard();
    else for (const one of this.#exchange.expire(nowMs)) this.#settle(one, nowMs);
    const probes = this.#choose(nowMs);
    for (const one of this.#exchange.send(probes, nowMs)) this.#settle(one, nowMs);
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#exchange[Symbol.dispose]();
  }

  #discard(): void {
    this.#exchange.discard();
    for (const { options } of this.#networks) options.recorder.discarded();
  }

  #setPaths(network: NetworkPeers, paths: readonly ProbePath[]): void {
    const now = { ms: this.#options.monotonicMs(), wallMs: this.#options.wallMs() };
    const peers = ProbedPeer.group(paths, network.peers, now);
    const [before, after] = [new Set(network.peers.values()), new Set(peers.values())];
    network.peers = peers;
    for (const peer of before) {
      if (after.has(peer)) continue;
      this.#networkOf.delete(peer);
      this.#doubts.delete(peer);
    }
    const added = [...after].filter((peer) => !before.has(peer));
    for (const peer of added) {
      this.#networkOf.set(peer, network);
      // What nothing is known of comes first.
      this.#doubts.add(peer);
    }
    if (added.length > 0 || after.size !== before.size) {
      this.#rotation.replace(before, after);
      this.#requests.replace([...this.#networks].flatMap(({ peers: all }) => [...all.values()]));
    }
    if (this.#networkOf.size === 0) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    } else this.#start();
  }

  #choose(nowMs: number): OutgoingProbe<Owner>[] {
    const chosen: ProbedPeer[] = [];
    const share = Math.min(
      PER_TICK,
      (this.#rotation.size * TICK_MS) / Math.max(this.#options.intervalMs, LEAST_PERIOD_MS),
    );
    const due = this.#rotation.take(share, PER_TICK, (peer) => this.#place(peer, nowMs));
    const doubts = Math.max(DOUBTS_PER_TICK, PER_TICK - due.length);
    for (const peer of this.#doubts) {
      if (chosen.length >= doubts || nowMs - peer.lastSentMs < LEAST_GAP_MS) break;
      chosen.push(peer);
    }
    for (const peer of chosen) {
      this.#doubts.delete(peer);
      this.#doubts.add(peer);
    }
    // Whoever has to wait here is the first in the next turn.
    const room = Math.max(0, PER_TICK - chosen.length);
    this.#rotation.giveBack(due.slice(room));
    chosen.push(...due.slice(0, room));
    return chosen.flatMap((peer) => this.#probeOf(peer, nowMs) ?? []);
  }

  #place(peer: ProbedPeer, nowMs: number): "due" | "skip" | "wait" {
    if (this.#doubts.has(peer)) return "skip";
    return nowMs - peer.lastSentMs >= LEAST_GAP_MS ? "due" : "wait";
  }

  #probeOf(peer: ProbedPeer, nowMs: number): OutgoingProbe<Owner> | undefined {
    const network = this.#networkOf.get(peer);
    const path = peer.nextPath();
    if (network === undefined || path === undefined) return undefined;
    const turn = path.nextTurn(nowMs);
    const target = path.path[turn.kind];
    if (target === undefined) return undefined;
    peer.lastSentMs = nowMs;
    const owner = { peer, path, turn, network };
    if (turn.asked === "witness") {
      this.#askByTcp(owner, target, nowMs);
      return undefined;
    }
    network.options.recorder.sent(turn.kind);
    const source = turn.kind === "bridge" ? this.#ownBridge(network, path, nowMs) : undefined;
    if (turn.asked === "bridge" && source === undefined) return undefined;
    const heardAgeMs = nowMs - path.verdict.heardAtMs;
    return {
      owner,
      kind: turn.kind,
      family: familyOfTarget(target),
      target,
      timeoutMs: path.timeoutMs,
      ...(turn.packetBytes !== undefined && { packetBytes: turn.packetBytes }),
      ...(source !== undefined && { source }),
      ...(turn.kind === "tunnel" && path.path.underlay !== undefined && { alsoFrom: path.path.underlay }),
      payload: {
        // A peer that learns of a bridge takes its silence for a failure: only one that is known to be there is announced.
        hasBridge: network.usedSources.has(path.path.ownBridge),
        networkTag: networkTagOf(path.path.subnet),
        ...(Number.isFinite(heardAgeMs) && { heardAgeMs }),
      },
    };
  }

  /** Undefined while this host has no bridge, as far as known. */
  #ownBridge(network: NetworkPeers, { path: { ownBridge } }: ProbedPath, nowMs: number): Address | undefined {
    const missingAtMs = network.noSource.get(ownBridge);
    return missingAtMs !== undefined && nowMs - missingAtMs < NO_SOURCE_MS ? undefined : ownBridge;
  }

  #askByTcp(owner: Owner, target: Address, sentAtMs: number): void {
    const { askByTcp, hearTraffic, monotonicMs } = this.#options;
    const { path, timeoutMs } = owner.path;
    const take = (hasAnswered: boolean, hasTraffic: boolean | undefined): void => {
      // The peer, or the prober, may be gone.
      if (this.#isClosed || this.#networkOf.get(owner.peer) !== owner.network) return;
      owner.path.verdict.setTraffic(hasTraffic);
      owner.path.verdict.take("witness", hasAnswered ? "answered" : "lost", sentAtMs, monotonicMs(), this.#needed);
      this.#changed(owner);
    };
    // Both at once: one after the other, a peer would be called down a second later.
    const isAnswered = new AbortController();
    const hearing = hearTraffic(path.subnet, timeoutMs, isAnswered.signal);
    askByTcp(target, timeoutMs).then(
      async (hasAnswered) => {
        // An answer says more than what passes by.
        if (hasAnswered) isAnswered.abort();
        take(hasAnswered, hasAnswered ? undefined : await hearing);
      },
      () => {
        isAnswered.abort();
        take(false, undefined);
      },
    );
  }

  get #needed(): number {
    return lossesNeeded(this.#losses.ratio);
  }

  #settle({ probe, sentAtMs, result }: Settled<Owner>, nowMs: number): void {
    const { owner } = probe;
    if (probe.source !== undefined && result.type !== "unsent") owner.network.usedSources.add(probe.source);
    const { path, network, turn } = owner;
    if (this.#networkOf.get(owner.peer) !== network) return;
    const { recorder } = network.options;
    if (turn.asked === "mtu") {
      this.#settleMtu(owner, result, { sentAtMs, nowMs });
      return;
    }
    switch (result.type) {
      case "answered":
      case "late":
        recorder.answered(turn.kind, result.rttMs, result.type === "late");
        this.#answered(owner, result.rttMs, result.type === "late", { sentAtMs, nowMs });
        break;
      case "unsent":
        this.#unsent(probe, result.errno, nowMs);
        return;
      case "lost":
        recorder.lost(turn.kind);
        this.#lost(owner, "lost", { sentAtMs, nowMs });
        break;
      case "tooBig":
        break;
      case "forbidden":
        path.cause = result.cause;
        recorder.lost(turn.kind);
        this.#lost(owner, "lost", { sentAtMs, nowMs });
        break;
      case "refused":
        path.cause = result.cause;
        if (turn.kind === "bridge" && result.offender === path.path.underlay) path.verdict.nobodyThere();
        if (result.wasLost && turn.asked !== "underlay") break;
        if (!result.wasLost) recorder.lost(turn.kind);
        this.#lost(owner, "refused", { sentAtMs, nowMs });
        break;
    }
    this.#changed(owner);
  }

  #settleMtu({ path, turn, ...owner }: Owner, result: ProbeResult, at: { sentAtMs: number; nowMs: number }): void {
    const { nowMs } = at;
    const before = path.mtu.found;
    if (result.type === "answered" || result.type === "late") {
      if (turn.kind === "underlay") {
        path.underlayRttMs = result.rttMs;
        path.verdict.take("underlay", "answered", at.sentAtMs, nowMs, this.#needed);
      } else path.verdict.heard(nowMs);
      path.takeMtu(turn, "answered", nowMs);
    } else if (result.type === "tooBig") path.takeMtu(turn, { tooBigFor: result.mtuBytes }, nowMs);
    else if (result.type !== "unsent") {
      path.isToBeChecked = true;
      path.takeMtu(turn, "lost", nowMs);
    }
    const { found } = path.mtu;
    const isNews = found?.wholeBytes !== before?.wholeBytes || found?.overlayBytes !== before?.overlayBytes;
    if (isNews) owner.network.options.onMtu(path, before);
    this.#changed({ path, turn, ...owner });
  }

  #answered({ path, turn }: Owner, rttMs: number, isLate: boolean, at: { sentAtMs: number; nowMs: number }): void {
    const { verdict, quality } = path;
    path.lastReplyWallMs = this.#options.wallMs();
    if (turn.asked === "mtu") return;
    if (turn.asked === "bridge") {
      path.bridge = "answered";
      return;
    }
    if (turn.asked === "underlay") path.underlayRttMs = rttMs;
    else {
      const wasUp = verdict.liveness === "up";
      if (!wasUp && verdict.liveness !== "suspect") quality.wasDown();
      if (wasUp) this.#losses.took(1, isLate ? 0 : verdict.lostInRow);
      if (isLate) quality.late(rttMs);
      else quality.answered(rttMs);
      verdict.heard(at.nowMs);
      path.cause = undefined;
    }
    verdict.take(turn.asked, "answered", at.sentAtMs, at.nowMs, this.#needed);
  }

  #lost({ path, turn }: Owner, outcome: "lost" | "refused", at: { sentAtMs: number; nowMs: number }): void {
    if (turn.asked === "mtu") return;
    if (turn.asked === "bridge") {
      path.isToBeChecked = true;
      path.bridge = outcome;
      return;
    }
    if (turn.asked === "main") path.quality.lost();
    path.verdict.take(turn.asked, outcome, at.sentAtMs, at.nowMs, this.#needed);
  }

  /** Mostly because there is no bridge here: then without its address. */
  #unsent(probe: OutgoingProbe<Owner>, errno: string, nowMs: number): void {
    const { source, owner, ...rest } = probe;
    if (source === undefined) return;
    const without = { ...rest, owner, payload: { ...probe.payload, hasBridge: false } };
    // Only what stands for the peer is asked without the bridge's address; for the rest it is enough to know why.
    const isAsked = owner.turn.asked === "main";
    const failed = isAsked || isUnreachable(errno) ? this.#exchange.send([without], nowMs, { isAwaited: isAsked }) : [];
    // Then it is the way to this one peer that is missing, not the bridge.
    const isOfPeer = isUnreachable(errno) && failed.some(({ result }) => result.type === "refused");
    if (!isOfPeer) {
      owner.network.noSource.set(source, nowMs);
      owner.network.usedSources.delete(source);
    }
    if (isAsked || isOfPeer) for (const one of failed) this.#settle(one, nowMs);
  }

  #hear({ source, payload }: HeardRequest, nowMs: number): void {
    const found = this.#requests.find(source, payload.networkTag);
    if (found === undefined) return;
    const { path, isInside } = found;
    if (isInside) path.verdict.heard(nowMs);
    if (payload.heardAgeMs !== undefined) path.verdict.heardByPeer(nowMs - payload.heardAgeMs);
    path.verdict.setBridge(payload.hasBridge);
  }

  #changed({ peer, path, network }: Owner): void {
    if (peer.paths.some((one) => one.isUrgent)) this.#doubts.add(peer);
    else this.#doubts.delete(peer);
    const from = path.state;
    if (path.refresh(this.#options.wallMs())) network.options.onChange({ path, from });
  }
}

function familyOfTarget(target: Address): Family {
  return target.includes(":") ? 6 : 4;
}
