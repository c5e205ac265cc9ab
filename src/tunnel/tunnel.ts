// The user-space data plane as its owner sees it: told what to do as a whole, it keeps doing it. A session that ends or
// cannot be started is tried again; what stands in the way is there to read.
import { describeError, FlannelError } from "../errors.ts";
import type { DescriptorKeeper } from "../sys/service-descriptors.ts";
import type { Logger } from "../telemetry/logger.ts";
import { Counters, type CountersByName, MAX_PEERS, type peerCounter } from "./counters.ts";
import { ForwardingTable } from "./forwarding-table.ts";
import { TableBuffers } from "./table-buffers.ts";
import { TunnelDescriptors } from "./tunnel-descriptors.ts";
import { sessionKey, type TunnelFeatures, TunnelSession } from "./tunnel-session.ts";
import type { TunnelPeer, TunnelState } from "./tunnel-state.ts";

const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 5_000;
/** Between two looks whether a missing socket can be had: an address is tentative for a second or two. */
const MISSING_SOCKET_MS = 1_000;
/** One that has run so long works; before, a session may end as the last one did. */
const SETTLED_MS = LAST_RETRY_MS;

export interface TunnelOptions {
  readonly logger: Logger;
  /** Holds device and sockets after us; stays the caller's. */
  readonly keeper: DescriptorKeeper;
  /** The session was started, or has ended. */
  readonly onChange: () => void;
}

export interface TunnelStatus extends CountersByName {
  /** Undefined while no session runs. */
  readonly features: TunnelFeatures | undefined;
  readonly peers: readonly ({ readonly key: string } & { readonly [Name in keyof typeof peerCounter]: number })[];
}

export class Tunnel implements AsyncDisposable {
  readonly #options: TunnelOptions;
  readonly #counters = new Counters();
  readonly #slots = new PeerSlots(this.#counters);
  readonly #buffers = new TableBuffers();
  readonly #descriptors: TunnelDescriptors;
  #wanted: TunnelState | undefined;
  #table: ForwardingTable | undefined;
  #running: { readonly session: TunnelSession; readonly key: string } | undefined;
  #problem: string | undefined;
  #retryMs = FIRST_RETRY_MS;
  #retryTimer: NodeJS.Timeout | undefined;
  /** Until the running session has settled. */
  #settledTimer: NodeJS.Timeout | undefined;
  /** Whether the session before ended without having settled: that the next one starts says little then. */
  #isUnstable = false;
  /** While a family has no socket. */
  #missingTimer: NodeJS.Timeout | undefined;
  /** What the last session had to do without. */
  #missing: string | undefined;
  /** From a session that lacks a family to one that has it. */
  #renewal: Promise<void> | undefined;
  #isDisposed = false;

  constructor(options: TunnelOptions) {
    this.#options = options;
    this.#descriptors = new TunnelDescriptors(options.keeper, (error) => {
      const message = "cannot hand file descriptors to the service manager";
      options.logger.warn("service.not-notified", message, { error: describeError(error) });
    });
  }

  /** Why packets, or those of one family, do not flow now; undefined when they do. */
  get problem(): string | undefined {
    if (this.#running !== undefined) return this.#running.session.problem;
    return this.#problem ?? "the data plane is not running yet";
  }

  status(): TunnelStatus {
    const peers = (this.#wanted?.peers ?? []).map((peer) => ({
      key: peer.key,
      ...this.#counters.ofPeer(this.#slots.of(peer)),
    }));
    return { features: this.#running?.session.features, ...this.#counters.byName(), peers };
  }

  /** Takes effect with the next batch of packets, or by a new session. Not to be called again before it has settled. */
  async setState(state: TunnelState): Promise<void> {
    await this.#renewal;
    this.#wanted = state;
    this.#slots.keepOnly(state.peers);
    const taken = this.#running?.session.tableTaken ?? Number.POSITIVE_INFINITY;
    const table = ForwardingTable.build(
      state,
      (peer) => this.#slots.of(peer),
      (bytes) => this.#buffers.take(bytes, taken),
    );
    this.#table = table;
    if (this.#running?.key === sessionKey(state)) {
      this.#buffers.publish(table.buffer, this.#running.session.setTable(table));
      return;
    }
    const outdated = this.#running?.session;
    this.#running = undefined;
    await outdated?.[Symbol.asyncDispose]();
    this.#start();
  }

  /**
   * From now on the device goes when this process ends: for a program that is to take its place. Returns its name. Throws
   * `KERNEL_BUSY` while no session runs: nobody knows then who holds the device.
   */
  async handOver(): Promise<string> {
    await this.#renewal;
    if (this.#running === undefined || this.#wanted === undefined) {
      const message = `the data plane does not run (${this.problem ?? "it is starting"})`;
      throw new FlannelError("KERNEL_BUSY", message, { retryable: true });
    }
    const { device } = this.#wanted;
    this.#descriptors.handOver(device);
    return device;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#settledTimer);
    clearInterval(this.#missingTimer);
    await this.#renewal;
    const session = this.#running?.session;
    this.#running = undefined;
    await session?.[Symbol.asyncDispose]();
    this.#descriptors[Symbol.dispose]();
  }

  #start(): void {
    clearTimeout(this.#retryTimer);
    clearInterval(this.#missingTimer);
    const state = this.#wanted;
    if (state === undefined || this.#table === undefined || this.#isDisposed) return;
    try {
      const session = TunnelSession.open(this.#descriptors.open(state), state, this.#table, this.#counters);
      this.#buffers.freeAll();
      this.#buffers.publish(this.#table.buffer, 0);
      this.#running = { session, key: sessionKey(state) };
      session.ended.then(
        (reason) => this.#onEnded(session, reason),
        (error: unknown) => this.#onEnded(session, describeError(error)),
      );
      if (!this.#isUnstable) this.#tellStarted(session);
      this.#watchMissing(session);
      clearTimeout(this.#settledTimer);
      this.#settledTimer = setTimeout(() => this.#onSettled(session), SETTLED_MS);
    } catch (error) {
      this.#fail(describeError(error));
    }
    this.#options.onChange();
  }

  #tellStarted(session: TunnelSession): void {
    if (this.#wanted === undefined) return;
    const { device, port } = this.#wanted;
    const { deviceOffload, udpSegmentation, udpReceiveJoining } = session.features;
    this.#options.logger.info("tunnel.started", `carrying packets through ${device} and UDP port ${port}`, {
      deviceOffload,
      udpSegmentation,
      udpReceiveJoining,
    });
  }

  #watchMissing(session: TunnelSession): void {
    const { problem } = session;
    if (problem !== undefined) {
      if (problem !== this.#missing) {
        const message = "one socket of the data plane is missing: retrying";
        this.#options.logger.error("tunnel.incomplete", message, { error: problem });
      }
      this.#missingTimer = setInterval(() => {
        if (this.#running?.session === session && session.isCurable) this.#renewal = this.#renew(session);
      }, MISSING_SOCKET_MS);
    }
    this.#missing = problem;
  }

  async #renew(session: TunnelSession): Promise<void> {
    this.#running = undefined;
    await session[Symbol.asyncDispose]();
    this.#start();
  }

  #onSettled(session: TunnelSession): void {
    if (this.#running?.session !== session) return;
    this.#settledTimer = undefined;
    if (this.#isUnstable) this.#tellStarted(session);
    this.#isUnstable = false;
    this.#problem = undefined;
    this.#retryMs = FIRST_RETRY_MS;
  }

  #onEnded(session: TunnelSession, reason: string | undefined): void {
    if (this.#running?.session !== session) return;
    this.#running = undefined;
    this.#isUnstable = this.#settledTimer !== undefined;
    clearTimeout(this.#settledTimer);
    this.#fail(reason ?? "the data plane has stopped");
    this.#options.onChange();
  }

  #fail(problem: string): void {
    this.#descriptors.letDeviceGo();
    if (problem !== this.#problem) {
      this.#options.logger.error("tunnel.failed", "the data plane failed: retrying", { error: problem });
    }
    this.#problem = problem;
    this.#retryTimer = setTimeout(() => this.#start(), this.#retryMs);
    this.#retryMs = Math.min(LAST_RETRY_MS, this.#retryMs * 2);
  }
}

/** Which counters belong to which peer; a place is free again when its peer has gone. */
class PeerSlots {
  readonly #counters: Counters;
  readonly #byKey = new Map<string, number>();
  readonly #free: number[] = [];
  #next = 0;

  constructor(counters: Counters) {
    this.#counters = counters;
  }

  /** Beyond the most a network can have, peers share the last place. */
  of({ key }: TunnelPeer): number {
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const slot = this.#free.pop() ?? Math.min(this.#next++, MAX_PEERS - 1);
    this.#counters.clearPeer(slot);
    this.#byKey.set(key, slot);
    return slot;
  }

  keepOnly(peers: readonly TunnelPeer[]): void {
    const keys = new Set(peers.map(({ key }) => key));
    for (const [key, slot] of this.#byKey) {
      if (keys.has(key)) continue;
      this.#byKey.delete(key);
      this.#free.push(slot);
    }
  }
}
