// Keeps charon doing what is wanted: started where none runs, loaded again after a crash, an association with each peer. Left
// alone when the agent ends.
import { setTimeout as delay } from "node:timers/promises";
import { BackOff } from "../async/back-off.ts";
import { type PassEnd, ReconcileLoop } from "../async/reconcile-loop.ts";
import { describeError, isCancelled } from "../errors.ts";
import { addressToBigInt } from "../ip/address.ts";
import { readEspNumbers } from "../netlink/xfrm/xfrm-control.ts";
import type { Logger } from "../telemetry/logger.ts";
import { type Association, lostInKernel, outlived, type PeerState, peerState, refusalIn } from "./associations.ts";
import { CharonSession, type SessionEvents } from "./charon-session.ts";
import { connectionName, type IpsecPeer, type WantedIpsec } from "./connection.ts";
import { LossWatch } from "./loss-watch.ts";
import { Traffic } from "./traffic.ts";

export interface CharonSupervisorOptions {
  readonly logger: Logger;
  /** To be called when `problem` or associations may have changed. */
  readonly onChange: () => void;
  /** Default: the kernel's. */
  readonly espNumbers?: typeof readEspNumbers;
}

/** How a peer stands, as of the last look. */
export interface PeerStanding {
  readonly peer: IpsecPeer;
  /** Its name in charon. */
  readonly connection: string;
  readonly state: PeerState;
  readonly associations: readonly Association[];
  /** Of that look, since 1970. */
  readonly atMs: number;
  /** Why the last attempt failed; only while there is no association. */
  readonly refusal: string | undefined;
}

const LOOK_INTERVAL_MS = 5_000;
/** A look at many peers must not take more than two percent of the time. */
const LOOK_SHARE = 50;
/** On a busy host a look takes long whatever there is to see. */
const MAX_LOOK_INTERVAL_MS = 30_000;
const EVENTS_GATHER_MS = 50;
const FIRST_ASSOCIATIONS_MS = 3_000;
const FIRST_LOOK_INTERVAL_MS = 50;
/** The host with the lower address begins; the other waits for it this long. */
const GRACE_MS = 2_000;
/** New keys for what the kernel lost are not asked for again before this. */
const RENEWAL_MS = 5_000;
const ATTEMPTS = { firstMs: 2_000, maxMs: 60_000 } as const;

type Suspect = "kernel" | "charon";

interface PeerRecord {
  readonly backOff: BackOff;
  nextAttemptMs: number;
  refusal: string | undefined;
  standing: PeerStanding;
}

export class CharonSupervisor implements AsyncDisposable {
  readonly #options: CharonSupervisorOptions;
  readonly #espNumbers: typeof readEspNumbers;
  readonly #abort = new AbortController();
  readonly #backOff = new BackOff({ firstMs: 500, maxMs: 30_000 });
  readonly #traffic = new Traffic();
  readonly #watches: readonly LossWatch[];
  /** Who seemed to lack something; the next look finds out. */
  readonly #suspects: Record<Suspect, boolean> = { kernel: false, charon: false };
  /** What the kernel should have, as of the last look at charon; none where that encrypts by itself. */
  #inKernel: readonly Association[] = [];
  /** When new keys were asked for, by the child's id. */
  readonly #renewals = new Map<number, number>();
  #records = new Map<string, PeerRecord>();
  #desired: WantedIpsec | undefined;
  #session: CharonSession | undefined;
  #problem: string | undefined;
  /** charon has run before in the life of this agent: peers believe in associations that are gone. */
  #hasRun = false;
  readonly #loop: ReconcileLoop;

  constructor(options: CharonSupervisorOptions) {
    this.#options = options;
    this.#espNumbers = options.espNumbers ?? readEspNumbers;
    const { signal } = this.#abort;
    this.#loop = new ReconcileLoop({ pass: () => this.#pass(), debounceMs: EVENTS_GATHER_MS, signal });
    const watch = (what: Suspect, isLost: () => Promise<boolean>) =>
      new LossWatch({
        isLost,
        onLoss: () => {
          this.#suspects[what] = true;
          this.#loop.queuePass();
        },
      });
    this.#watches = [
      watch("kernel", async () => {
        const wanted = this.#inKernel;
        return wanted.length > 0 && lostInKernel(wanted, await this.#espNumbers()).length > 0;
      }),
      watch("charon", async () => ((await this.#session?.unloaded()) ?? []).length > 0),
    ];
  }

  /** Settles after the first attempt to bring charon there, whatever came of it. */
  async apply(state: WantedIpsec): Promise<void> {
    this.#desired = state;
    await this.#loop.passNow();
  }

  /** Why there is no charon that does what is wanted. `standings` shows peers without association. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** `5.9.8`; undefined while none runs. */
  get version(): string | undefined {
    return this.#session?.version;
  }

  get isUserspace(): boolean {
    return this.#desired?.isUserspace === true;
  }

  get standings(): readonly PeerStanding[] {
    return [...this.#records.values()].map(({ standing }) => standing);
  }

  get traffic(): Traffic {
    return this.#traffic;
  }

  /** charon goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    for (const watch of this.#watches) watch[Symbol.dispose]();
    await this.#loop[Symbol.asyncDispose]();
    await this.#session?.[Symbol.asyncDispose]();
  }

  async #pass(): Promise<PassEnd<void>> {
    if (this.#desired === undefined || this.#loop.isStopped) return { result: undefined };
    return { result: undefined, repeatInMs: await this.#turn(this.#desired) };
  }

  /** Never rejects; returns when the next turn is due. */
  async #turn(desired: WantedIpsec): Promise<number> {
    try {
      const isNew = this.#session === undefined;
      this.#session ??= await this.#open(desired);
      const session = this.#session;
      if (this.#suspects.charon) await this.#forgetUnloaded(session);
      await session.load(desired);
      this.#follow(desired);
      if (isNew) await this.#awaitFirst(session, desired);
      const startMs = performance.now();
      await this.#look(session, desired);
      this.#backOff.reset();
      this.#setProblem(undefined);
      const endMs = performance.now();
      return Math.max(
        Math.min((endMs - startMs) * LOOK_SHARE, MAX_LOOK_INTERVAL_MS),
        Math.min(LOOK_INTERVAL_MS, this.#nextAttemptMs() - endMs),
      );
    } catch (error) {
      if (isCancelled(error) || this.#abort.signal.aborted) return 0;
      const session = this.#session;
      this.#endSession();
      await session?.[Symbol.asyncDispose]();
      this.#setProblem(describeError(error));
      return this.#backOff.nextMs();
    }
  }

  /** What charon had, here and in the kernel, says nothing without it: a loss of that must not cut the back-off short. */
  #endSession(): void {
    this.#session = undefined;
    this.#inKernel = [];
    this.#suspects.kernel = false;
    this.#suspects.charon = false;
  }

  /** When the next association is to be begun; infinity when none is. */
  #nextAttemptMs(): number {
    const missing = [...this.#records.values()].filter(({ standing }) => standing.state === "none");
    return Math.min(...missing.map(({ nextAttemptMs }) => nextAttemptMs));
  }

  async #open(desired: WantedIpsec): Promise<CharonSession> {
    const { logger } = this.#options;
    const session = await CharonSession.open(desired, this.#events(), this.#abort.signal);
    const how = session.isStarted ? "started charon" : "using the charon that runs";
    logger.info("ipsec.charon-ready", `${how} (strongSwan ${session.version})`);
    const isAgain = this.#hasRun && session.isStarted;
    this.#hasRun = true;
    if (isAgain) for (const record of this.#records.values()) record.nextAttemptMs = 0;
    else this.#records = new Map();
    session.closed
      .then(() => {
        if (this.#session !== session || this.#abort.signal.aborted) return;
        this.#endSession();
        this.#setProblem("charon has ended; starting it again");
        this.#loop.queuePass();
      })
      .catch(() => undefined);
    return session;
  }

  #events(): SessionEvents {
    return {
      onAssociations: () => this.#loop.passSoon(),
      onLog: (line, connection) => this.#onLog(line, connection),
    };
  }

  #onLog(line: string, connection: string | undefined): void {
    const { logger } = this.#options;
    logger.verbose(2, "ipsec.charon", () => `charon: ${connection === undefined ? "" : `${connection}: `}${line}`);
    const record = connection === undefined ? undefined : this.#records.get(connection);
    const refusal = record === undefined ? undefined : refusalIn(line);
    if (record === undefined || refusal === undefined || record.refusal === refusal) return;
    record.refusal = refusal;
    if (record.standing.state === "established") return;
    record.standing = { ...record.standing, refusal };
    this.#logRefusal(record);
  }

  /** Each reason once, until there was an association. */
  #logRefusal({ standing: { peer }, refusal }: PeerRecord): void {
    const facts = { peer: peer.publicIp, subnet: peer.subnet };
    this.#options.logger.warn("ipsec.refused", `no security association with ${peer.publicIp}: ${refusal}`, facts);
    this.#options.onChange();
  }

  /** A record for each peer that is wanted, and no other. */
  #follow(desired: WantedIpsec): void {
    const records = new Map<string, PeerRecord>();
    const nowMs = performance.now();
    for (const peer of desired.peers) {
      const name = connectionName(desired, peer);
      const known = this.#records.get(name);
      if (known !== undefined) records.set(name, known);
      else {
        const isFirst = addressToBigInt(desired.publicIp) < addressToBigInt(peer.publicIp);
        const nextAttemptMs = isFirst ? nowMs : nowMs + GRACE_MS;
        const common = { peer, connection: name, refusal: undefined };
        const standing: PeerStanding = { ...common, state: "none", associations: [], atMs: 0 };
        records.set(name, { backOff: new BackOff(ATTEMPTS), nextAttemptMs, refusal: undefined, standing });
      }
    }
    this.#records = records;
  }

  async #look(session: CharonSession, desired: WantedIpsec): Promise<void> {
    const associations = await session.associations(desired);
    this.#traffic.follow(associations);
    this.#inKernel = desired.isUserspace ? [] : associations;
    if (this.#suspects.kernel) await this.#renewLost(session, desired);
    const byName = Map.groupBy(associations, ({ connection }) => connection);
    let hasChanged = false;
    for (const peer of desired.peers) {
      const name = connectionName(desired, peer);
      const record = this.#records.get(name);
      if (record === undefined) continue;
      const found = byName.get(name) ?? [];
      hasChanged = this.#judge(record, peer, found) || hasChanged;
      for (const old of outlived(found)) await session.terminate(old);
      if (record.standing.state === "none" && performance.now() >= record.nextAttemptMs) {
        record.nextAttemptMs = performance.now() + record.backOff.nextMs();
        await session.initiate(desired, peer);
      }
    }
    if (hasChanged) this.#options.onChange();
  }

  /** What another program unloaded is loaded with the rest. */
  async #forgetUnloaded(session: CharonSession): Promise<void> {
    this.#suspects.charon = false;
    const names = await session.unloaded();
    if (names.length === 0) return;
    const what = names.length === 1 ? names[0] : `${names.length} connections and keys`;
    const words = `another program unloaded ${what} from charon: loading all of flannel's again`;
    this.#options.logger.warn("ipsec.unloaded", words, { count: names.length });
    session.forget();
  }

  async #renewLost(session: CharonSession, desired: WantedIpsec): Promise<void> {
    this.#suspects.kernel = false;
    const first = new Set((await this.#lostOf(this.#inKernel)).map(({ child }) => child.id));
    if (first.size === 0) return;
    // A rekeying that completes between charon's answer and the kernel's looks the same: what is missing twice is lost.
    const second = await this.#lostOf(await session.associations(desired));
    const nowMs = performance.now();
    for (const [id, atMs] of this.#renewals) if (nowMs - atMs > RENEWAL_MS) this.#renewals.delete(id);
    for (const { association, child } of second) {
      if (!first.has(child.id) || this.#renewals.has(child.id)) continue;
      this.#renewals.set(child.id, nowMs);
      const peer = association.endpoint ?? association.connection;
      this.#options.logger.warn(
        "ipsec.association-lost",
        `another program deleted keys of the security association with ${peer} from the kernel: negotiating new ones`,
        { peer },
      );
      await session.renew(child);
    }
  }

  /** What cannot be read is not gone; the watch asks again. */
  async #lostOf(associations: readonly Association[]): Promise<ReturnType<typeof lostInKernel>> {
    const inKernel = await this.#espNumbers().catch(() => undefined);
    return inKernel === undefined ? [] : lostInKernel(associations, inKernel);
  }

  /** Returns whether the peer stands otherwise than before. */
  #judge(record: PeerRecord, peer: IpsecPeer, associations: readonly Association[]): boolean {
    const { logger } = this.#options;
    const before = record.standing.state;
    const state = peerState(associations);
    if (state === "established") {
      if (record.refusal !== undefined) {
        logger.info("ipsec.established", `there is a security association with ${peer.publicIp} again`);
      }
      record.refusal = undefined;
      record.backOff.reset();
      record.nextAttemptMs = 0;
    }
    const { connection } = record.standing;
    record.standing = { peer, connection, state, associations, atMs: Date.now(), refusal: record.refusal };
    return before !== state;
  }

  /** Ready means that packets flow: those that answer soon are waited for. */
  async #awaitFirst(session: CharonSession, desired: WantedIpsec): Promise<void> {
    const endMs = performance.now() + FIRST_ASSOCIATIONS_MS;
    const isOpen = () =>
      [...this.#records.values()].some(
        ({ standing }) => standing.state !== "established" && standing.refusal === undefined,
      );
    await this.#look(session, desired);
    while (isOpen() && performance.now() < endMs && this.#desired === desired && !this.#abort.signal.aborted) {
      await delay(FIRST_LOOK_INTERVAL_MS, undefined, { signal: this.#abort.signal });
      await this.#look(session, desired);
    }
  }

  #setProblem(problem: string | undefined): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    const { logger, onChange } = this.#options;
    if (problem !== undefined) logger.error("ipsec.charon-failed", `no packets are encrypted: ${problem}; retrying`);
    onChange();
  }
}
