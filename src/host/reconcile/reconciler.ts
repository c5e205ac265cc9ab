// Keeps the host as it is wanted: applies differences, notices what others change, looks at everything now and then.
// The only one who writes them.
import { type PassEnd, ReconcileLoop } from "../../async/reconcile-loop.ts";
import { asFlannelError, FlannelError } from "../../errors.ts";
import type { Prefix } from "../../ip/address.ts";
import type { MonitorMessage } from "../../netlink/rtnetlink/monitor.ts";
import { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { HostState } from "../kinds/host-state.ts";
import type { Kind } from "../kinds/kind.ts";
import { type HostKind, hostKinds, type Observed } from "../kinds/kinds.ts";
import { ownDeviceName } from "../kinds/links.ts";
import { concernedBy, deviationOf, noticedObjects } from "./deviation.ts";
import type { Removal } from "./diff.ts";
import { type Because, type PassRequest, ReconcilePass, type ReconcileResult } from "./reconcile-pass.ts";
import { type ReconcilerStatus, reconcilerStatus, type SlotFailure, slotFailures } from "./reconciler-status.ts";

export interface ReconcilerOptions {
  /** Names of the devices that are ours, as far as they are of our kind. */
  readonly devices: readonly string[];
  /** The networks of our configuration: routes with our protocol number inside them are ours. */
  readonly ownedNetworks: readonly Prefix[];
  /** See `Ownership`. */
  readonly routeTable?: number;
  readonly staleTables?: readonly number[];
  readonly isIsolated?: boolean;
  /** Tells of changes; stays the caller's. Missing: a socket of its own. */
  readonly notices?: Pick<Rtnetlink, "follow">;
  readonly logger: Logger;
  readonly metrics?: MetricsRecorder;
  /** After it nothing is changed any more. */
  readonly signal: AbortSignal;
  /** Between looks at a third of everything (see `auditRounds`); default 120,000. 0: only on notifications. */
  readonly auditIntervalMs?: number;
  /** Called after each pass that changed something or failed; must not throw. */
  readonly onChange?: () => void;
  /** Every notification of the kernel, for others who judge the host by them; `lost`: some are missing. Must not throw. */
  readonly onNotice?: (messages: readonly MonitorMessage[] | "lost") => void;
}

const DEFAULT_AUDIT_INTERVAL_MS = 120_000;
/** What an audit looks at in turn. */
const auditRounds: readonly (readonly Kind[])[] = ([0, 1, 2] as const).map((round) =>
  hostKinds.filter(({ auditRound }) => auditRound === round),
);
/** Gathers what belongs together (a flushed table is thousands of notifications) and is still at once for a person. */
const DEBOUNCE_MS = 10;
const LOOK_RETRY_MS = 1_000;
/**
 * How often kinds are asked of whose changes nobody tells; less often where that takes more than a fiftieth of a core. Processor
 * time: on a busy machine an answer is waited for, which costs nothing. Never less often than the maximum: what a look of
 * 0.4 s of a busy or emulated machine found would otherwise stay for 20 s.
 */
const POLL_INTERVAL_MS = 500;
const MAX_POLL_INTERVAL_MS = 5_000;
const POLL_SHARE = 50;
const polledKinds = hostKinds.filter(({ hasDeviated }) => hasDeviated !== undefined);

export class Reconciler implements AsyncDisposable {
  readonly #options: ReconcilerOptions;
  readonly #netlink: Rtnetlink;
  readonly #pass: ReconcilePass;
  #following: Disposable | undefined;
  #wanted: PassRequest["wanted"];
  readonly #kindsToLookAt = new Set<Kind>(hostKinds);
  #isNewChance = false;
  /** Notifications that come while it looks are judged by what it found. */
  readonly #loop: ReconcileLoop<ReconcileResult, readonly MonitorMessage[]>;
  #auditsDone = 0;
  /** What is looked at next is looked at because its time has come, not because of a notification. */
  #isAudit = false;
  #pollTimer: NodeJS.Timeout | undefined;

  private constructor(options: ReconcilerOptions, netlink: Rtnetlink) {
    this.#options = options;
    this.#netlink = netlink;
    const { devices, ownedNetworks, routeTable, staleTables, isIsolated = false } = options;
    const ownership = {
      ...{ ownDevices: new Set(devices), ownedNetworks, isIsolated },
      ...(routeTable !== undefined && { routeTable }),
      ...(staleTables !== undefined && { staleTables }),
    };
    this.#loop = new ReconcileLoop({
      pass: () => this.#runPass(),
      onEvent: (messages) => this.#onMessages(messages),
      debounceMs: DEBOUNCE_MS,
      signal: options.signal,
    });
    this.#pass = new ReconcilePass({
      netlink,
      ownership,
      logger: options.logger,
      metrics: options.metrics,
      signal: options.signal,
      aroundLook: (look) => this.#loop.holdBackDuring(look),
    });
  }

  /** Changes nothing before the first `setDesired`. Throws a FlannelError when the kernel refuses its sockets. */
  static async open(options: ReconcilerOptions): Promise<Reconciler> {
    const reconciler = new Reconciler(options, Rtnetlink.open());
    try {
      reconciler.#following = reconciler.#follow();
    } catch (error) {
      await reconciler[Symbol.asyncDispose]();
      throw error;
    }
    reconciler.#loop.startAudits(options.auditIntervalMs ?? DEFAULT_AUDIT_INTERVAL_MS, () => reconciler.#auditNext());
    return reconciler;
  }

  #follow(): Disposable {
    const { onNotice, notices = this.#netlink, logger } = this.#options;
    return notices.follow({
      logger,
      kinds: noticedObjects,
      neighbourIndexes: () => this.#ownIndexes(),
      onMessages: (messages) => {
        this.#options.metrics?.count("flannel_kernel_notifications_total", { source: "rtnetlink" }, messages.length);
        this.#loop.receive(messages);
        onNotice?.(messages);
      },
      onOverflow: () => {
        this.#options.metrics?.count("flannel_kernel_overflows_total", { source: "rtnetlink" });
        this.#lookSoon(hostKinds, true);
        onNotice?.("lost");
      },
    });
  }

  /**
   * Replaces what is wanted; resolves when a pass that includes it, or something newer, is done. What failed is in the
   * result and is tried again by itself. Objects shared with the last state cost nothing. Rejects with `CANCELLED`
   * only after disposal or `signal`.
   */
  setDesired(state: HostState, removal: Removal & Because): Promise<ReconcileResult> {
    if (this.#loop.isStopped) return Promise.reject(closedError());
    this.#wanted = { ...removal, state };
    return this.#loop.passNow();
  }

  /** Rewrites routes through next-hop objects as plain ones, without a gap, and writes only plain ones from now on. */
  handover(): Promise<{ readonly rewrittenRoutes: number }> {
    return this.#inTurn(async () => ({ rewrittenRoutes: await this.#pass.handover() }));
  }

  /** What would be changed now, as lines: `+ ` comes, `- ` goes, `! ` stands in the way. Changes nothing. */
  difference(): Promise<string[]> {
    return this.#inTurn(() => this.#pass.difference());
  }

  status(): ReconcilerStatus {
    return reconcilerStatus(this.#pass);
  }

  /** The failures of `status`, each with its object. */
  failures(): readonly SlotFailure[] {
    return slotFailures(this.#pass);
  }

  /** As far as is known, nothing that is wanted is missing or different. */
  get isAsWanted(): boolean {
    return this.#pass.dirty.size === 0;
  }

  /** Whether the wanted object is in place together with all that it requires. */
  isProgrammed(kind: Kind, key: string): boolean {
    return this.#pass.isProgrammed(kind, key);
  }

  /** What was found of a kind at the last look. */
  readonly observed = <K extends HostKind>(name: K): readonly Observed<K>[] => {
    const { slots } = this.#pass.watch().host;
    const kind = hostKinds.find((one) => one.name === name);
    const found = kind === undefined ? [] : [...slots.slots(kind)].map(({ observed }) => observed);
    // The name says what the kind's objects are, which a list of all kinds does not know.
    return found.filter((object): object is Observed<K> => object !== undefined);
  };

  /** Waits for the pass under way; what is in the kernel stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#loop.close();
    clearTimeout(this.#pollTimer);
    this.#following?.[Symbol.dispose]();
    await this.#loop[Symbol.asyncDispose]();
    await this.#netlink[Symbol.asyncDispose]();
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    return this.#loop.inTurn(() => {
      if (this.#loop.isStopped) throw closedError();
      return task();
    });
  }

  /** Never rejects. What is to be looked at waits for its debounce, whatever else asks for a pass. */
  async #runPass(): Promise<PassEnd<ReconcileResult>> {
    const isLookDue = !this.#loop.isPassPending || !this.#pass.hasLooked;
    const kinds = new Set(isLookDue ? this.#kindsToLookAt : []);
    if (kinds.size > 0) this.#kindsToLookAt.clear();
    const isNewChance = kinds.size > 0 && this.#isNewChance;
    if (isNewChance) this.#isNewChance = false;
    const isAudit = kinds.size > 0 && this.#isAudit;
    if (kinds.size > 0) this.#isAudit = false;
    const wanted = this.#wanted;
    this.#wanted = undefined;
    let result: ReconcileResult;
    try {
      if (this.#loop.isStopped) throw closedError();
      result = await this.#pass.run({ wanted, kinds, isNewChance, isAudit });
    } catch (error) {
      result = this.#onPassFailed(asFlannelError(error), kinds);
    }
    this.#armPollTimer(POLL_INTERVAL_MS);
    this.#measure(result);
    if (result.operations > 0 || result.failures.length > 0) this.#options.onChange?.();
    return { result, repeatInMs: this.#pass.nextAttemptInMs() };
  }

  #measure({ operations, failures, durationMs }: ReconcileResult): void {
    const { metrics } = this.#options;
    metrics?.count("flannel_reconcile_passes_total", { result: failures.length === 0 ? "done" : "failed" });
    metrics?.count("flannel_reconcile_operations_total", {}, operations);
    metrics?.observe("flannel_reconcile_duration_seconds", {}, durationMs / 1_000);
  }

  /** The kernel would not list its objects: without that nothing can be done, so everything is looked at again. */
  #onPassFailed(error: FlannelError, kinds: ReadonlySet<Kind>): ReconcileResult {
    if (!this.#loop.isStopped) {
      this.#options.logger.error("host.look-failed", "cannot read the state of the kernel; retrying", { error });
      for (const kind of kinds.size > 0 ? kinds : hostKinds) this.#kindsToLookAt.add(kind);
      this.#loop.passSoon(LOOK_RETRY_MS);
    }
    return { operations: 0, failures: [{ object: "kernel state", error: error.message, attempts: 1 }], durationMs: 0 };
  }

  #armPollTimer(delayMs: number): void {
    const { host } = this.#pass.watch();
    if (this.#pollTimer !== undefined || this.#loop.isStopped) return;
    const isWanted = (kind: Kind) => [...host.slots.slots(kind)].some(({ desired }) => desired !== undefined);
    if (!polledKinds.some(isWanted)) return;
    this.#pollTimer = setTimeout(() => {
      this.#loop.inTurn(() => this.#poll()).catch(() => undefined);
    }, delayMs);
  }

  /** Never rejects. What cannot be read is left to the look that follows, which says so. */
  async #poll(): Promise<void> {
    this.#pollTimer = undefined;
    if (this.#loop.isStopped) return;
    const [startMs, before] = [performance.now(), process.cpuUsage()];
    const { host } = this.#pass.watch();
    for (const kind of polledKinds) {
      const isDeviated = await kind.hasDeviated?.(host).catch(() => true);
      if (isDeviated === true) this.#lookSoon([kind, ...hostKinds.filter(({ auditRound }) => auditRound === 0)], false);
    }
    const { user, system } = process.cpuUsage(before);
    // Other threads of the process work meanwhile: the look itself took no more than the time that passed.
    const lookMs = Math.min((user + system) / 1_000, performance.now() - startMs);
    this.#armPollTimer(Math.min(MAX_POLL_INTERVAL_MS, Math.max(POLL_INTERVAL_MS, lookMs * POLL_SHARE)));
  }

  #auditNext(): void {
    this.#isAudit = this.#kindsToLookAt.size === 0;
    this.#lookSoon(auditRounds[this.#auditsDone % auditRounds.length] ?? hostKinds, true);
    this.#auditsDone++;
  }

  #lookSoon(kinds: readonly Kind[], isNewChance: boolean): void {
    for (const kind of kinds) this.#kindsToLookAt.add(kind);
    this.#isNewChance ||= isNewChance;
    this.#loop.passSoon();
  }

  #onMessages(messages: readonly MonitorMessage[]): void {
    const watch = this.#pass.watch();
    for (const message of messages) {
      for (const kind of concernedBy(message.kind)) {
        const deviation = deviationOf(kind, message, watch);
        if (deviation === undefined) continue;
        this.#lookSoon(deviation.lookAt === "everything" ? hostKinds : deviation.lookAt, deviation.isNewChance);
      }
    }
  }

  #ownIndexes(): ReadonlySet<number> {
    const { links, ownership } = this.#pass.watch().host;
    const indexes = new Set<number>();
    for (const name of ownership.ownDevices) {
      const index = links.byName(name)?.index;
      if (ownDeviceName(index, links, ownership) !== undefined && index !== undefined) indexes.add(index);
    }
    return indexes;
  }
}

function closedError(): FlannelError {
  return new FlannelError("CANCELLED", "the reconciler is closed");
}
