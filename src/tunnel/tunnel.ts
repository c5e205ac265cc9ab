// The user-space data plane as its owner sees it: told what to do as a whole, it keeps doing it. A session that ends or
// cannot be started is tried again; what stands in the way is there to read.
import { BackOff } from "../async/back-off.ts";
import { describeError, FlannelError } from "../errors.ts";
import type { DescriptorStore } from "../sys/service-descriptors.ts";
import type { Logger } from "../telemetry/logger.ts";
import { Counters, type CountersByName, MAX_PEERS, type peerCounter } from "./counters.ts";
import { ForwardingTable } from "./forwarding-table.ts";
import { TableBuffers } from "./table-buffers.ts";
import { TunnelDescriptors } from "./tunnel-descriptors.ts";
import { sessionKey, type TunnelFeatures, TunnelSession } from "./tunnel-session.ts";
import type { TunnelPeer, TunnelState } from "./tunnel-state.ts";

/** Only this host waits for its device and its port. */
const RETRY = { firstMs: 50, maxMs: 5_000, jitter: 0 } as const;
/** Between two looks whether a missing socket can be had: an address is tentative for a second or two. */
const MISSING_SOCKET_MS = 1_000;
/** One that has run so long works; before, a session may end as the last one did. */
const SETTLED_MS = RETRY.maxMs;

export interface TunnelOptions {
  readonly logger: Logger;
  /** Holds device and sockets after us; stays the caller's. */
  readonly descriptorStore: DescriptorStore;
  /** The session was started, or has ended. */
  readonly onChange: () => void;
}

export interface TunnelStatus extends CountersByName {
  /** Undefined while no session runs. */
  readonly features: TunnelFeatures | undefined;
  readonly peers: readonly ({ readonly key: string } & { readonly [Name in keyof typeof peerCounter]: number })[];
}

interface Running {
  readonly name: "running";
  readonly session: TunnelSession;
  readonly key: string;
  /** Has run for `SETTLED_MS`. */
  isSettled: boolean;
  readonly settles: NodeJS.Timeout;
  /** While a family has no socket. */
  readonly retriesMissing: NodeJS.Timeout | undefined;
}

/** `idle`: nothing is desired yet, or one session makes room for the next. `failed`: until the retry. */
type Phase =
  | { readonly name: "idle" | "disposed" }
  | Running
  | { readonly name: "failed"; readonly retry: NodeJS.Timeout };

export class Tunnel implements AsyncDisposable {
  readonly #options: TunnelOptions;
  readonly #counters = new Counters();
  readonly #slots = new PeerSlots(this.#counters);
  readonly #buffers = new TableBuffers();
  readonly #descriptors: TunnelDescriptors;
  #wanted: TunnelState | undefined;
  #table: ForwardingTable | undefined;
  #phase: Phase = { name: "idle" };
  /** The last failure, until a session has settled: the same one is logged once. */
  #problem: string | undefined;
  readonly #backOff = new BackOff(RETRY);
  /** The session before ended without having settled: that the next one starts says little then. */
  #isUnstable = false;
  /** What the last session had to do without. */
  #missing: string | undefined;
  /** From a session that lacks a family to one that has it. */
  #renewal: Promise<void> | undefined;

  constructor(options: TunnelOptions) {
    this.#options = options;
    this.#descriptors = new TunnelDescriptors(options.descriptorStore, (error) => {
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
    this.#enter({ name: "idle" });
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
    const session = this.#running?.session;
    this.#enter({ name: "disposed" });
    await this.#renewal;
    await session?.[Symbol.asyncDispose]();
    this.#descriptors[Symbol.dispose]();
  }

  get #running(): Running | undefined {
    return this.#phase.name === "running" ? this.#phase : undefined;
  }

  /** Ends the timers of the phase before. `disposed` is the last one. */
  #enter(next: Phase): void {
    const { name } = this.#phase;
    if (name === "disposed") return;
    if (name === "failed") clearTimeout(this.#phase.retry);
    if (name === "running") {
      clearTimeout(this.#phase.settles);
      clearInterval(this.#phase.retriesMissing);
    }
    this.#phase = next;
  }

  #start(): void {
    const [state, table] = [this.#wanted, this.#table];
    if (state === undefined || table === undefined || this.#phase.name === "disposed") return;
    this.#enter({ name: "idle" });
    try {
      const session = TunnelSession.open(this.#descriptors.open(state), state, table, this.#counters);
      this.#buffers.freeAll();
      this.#buffers.publish(table.buffer, 0);
      this.#run(session, sessionKey(state));
    } catch (error) {
      this.#fail(describeError(error));
    }
    this.#options.onChange();
  }

  #run(session: TunnelSession, key: string): void {
    const settles = setTimeout(() => this.#onSettled(session), SETTLED_MS);
    const retriesMissing = this.#retryMissing(session);
    this.#enter({ name: "running", session, key, isSettled: false, settles, retriesMissing });
    session.ended.then(
      (reason) => this.#onEnded(session, reason),
      (error: unknown) => this.#onEnded(session, describeError(error)),
    );
    if (!this.#isUnstable) this.#logStarted(session);
  }

  #logStarted(session: TunnelSession): void {
    if (this.#wanted === undefined) return;
    const { device, port } = this.#wanted;
    const { deviceOffload, udpSegmentation, udpReceiveJoining } = session.features;
    this.#options.logger.info("tunnel.started", `carrying packets through ${device} and UDP port ${port}`, {
      deviceOffload,
      udpSegmentation,
      udpReceiveJoining,
    });
  }

  /** Undefined when both families have their sockets. */
  #retryMissing(session: TunnelSession): NodeJS.Timeout | undefined {
    const { problem } = session;
    const isNews = problem !== this.#missing;
    this.#missing = problem;
    if (problem === undefined) return undefined;
    if (isNews) {
      const message = "one socket of the data plane is missing: retrying";
      this.#options.logger.error("tunnel.incomplete", message, { error: problem });
    }
    return setInterval(() => {
      if (this.#running?.session === session && session.isCurable) this.#renewal = this.#renew(session);
    }, MISSING_SOCKET_MS);
  }

  async #renew(session: TunnelSession): Promise<void> {
    this.#enter({ name: "idle" });
    await session[Symbol.asyncDispose]();
    this.#start();
  }

  #onSettled(session: TunnelSession): void {
    const running = this.#running;
    if (running?.session !== session) return;
    running.isSettled = true;
    if (this.#isUnstable) this.#logStarted(session);
    this.#isUnstable = false;
    this.#problem = undefined;
    this.#backOff.reset();
  }

  #onEnded(session: TunnelSession, reason: string | undefined): void {
    const running = this.#running;
    if (running?.session !== session) return;
    this.#isUnstable = !running.isSettled;
    this.#fail(reason ?? "the data plane has stopped");
    this.#options.onChange();
  }

  #fail(problem: string): void {
    this.#descriptors.letDeviceGo();
    if (problem !== this.#problem) {
      this.#options.logger.error("tunnel.failed", "the data plane failed: retrying", { error: problem });
    }
    this.#problem = problem;
    this.#enter({ name: "failed", retry: setTimeout(() => this.#start(), this.#backOff.nextMs()) });
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
