// One pass of the reconciler: look where told, work out what differs, program it in order, remember what failed.
import { setImmediate as nextTurn } from "node:timers/promises";
import { type Repair, RepairLog } from "../../async/repair-log.ts";
import { FlannelError } from "../../errors.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { HostState } from "../kinds/host-state.ts";
import type { Kind, Operation, ProgramFailure, Slot, Watch } from "../kinds/kind.ts";
import { hostKinds } from "../kinds/kinds.ts";
import type { Ownership } from "../kinds/links.ts";
import type { ChangeCause } from "./change-cause.ts";
import { type HostOperation, operationFor, operationLines, type Removal, slotLine } from "./diff.ts";
import { Failures } from "./failures.ts";
import { hostDifference } from "./host-difference.ts";
import { look } from "./host-observer.ts";
import type { HostTable } from "./host-table.ts";
import { type HostView, newHostView } from "./host-view.ts";
import { kernelRepairLines, repairOf } from "./kernel-repairs.ts";
import { obstacleTo } from "./obstacle.ts";

export interface HostFailure {
  /** As `ip`, `bridge` or `sysctl` show it. */
  readonly object: string;
  readonly error: string;
  readonly attempts: number;
}

export interface ReconcileResult {
  /** Number of objects added, changed or removed, or tried to. */
  readonly operations: number;
  /** Of this pass; see `status()` for all that is still open. */
  readonly failures: readonly HostFailure[];
  readonly durationMs: number;
}

export interface Because {
  /** Of what is wanted now; default: the start. */
  readonly because?: ChangeCause;
}

export interface PassRequest {
  readonly wanted: (Removal & Because & { readonly state: HostState }) | undefined;
  /** Looked at before anything else; empty: none. */
  readonly kinds: ReadonlySet<Kind>;
  readonly isNewChance: boolean;
  /** The look was due anyway. */
  readonly isAudit: boolean;
}

export interface PassOptions {
  readonly netlink: Rtnetlink;
  readonly ownership: Ownership;
  readonly logger: Logger;
  readonly metrics: MetricsRecorder | undefined;
  readonly signal: AbortSignal;
  aroundLook(look: () => Promise<void>): Promise<void>;
}

/** Slots judged before other work of the event loop gets its turn: about 2 ms. */
const SLOTS_PER_TURN = 4_096;
const FAILURES_NAMED_IN_LOG = 5;

/** What is to be done to one kind. */
interface Stage {
  readonly kind: Kind;
  readonly additions: Operation[];
  readonly removals: Operation[];
}

export class ReconcilePass {
  readonly table: HostTable;
  readonly failures = new Failures();
  readonly repairs: RepairLog;
  /** Slots that are not as wanted. */
  readonly dirty = new Set<Slot>();
  /** Slots that wait for a device, by the reason. */
  readonly blocked = new Map<string, number>();
  readonly #options: PassOptions;
  readonly #host: HostView;
  /** External changes, with what was found instead; undefined: nothing. */
  readonly #repairing = new Map<Slot, string | undefined>();
  readonly #watchedDevices = new Set<string>();
  #removal: Removal = { prune: false };
  #hasLooked = false;
  #because: ChangeCause = { cause: "start" };
  #lookCause: ChangeCause = { cause: "notification" };

  constructor(options: PassOptions) {
    this.#options = options;
    this.repairs = new RepairLog(kernelRepairLines(options.logger), options.metrics);
    this.#host = newHostView(options.netlink, options.ownership);
    this.table = this.#host.slots;
  }

  /** Nothing is known of the kernel before. */
  get hasLooked(): boolean {
    return this.#hasLooked;
  }

  /** Throws only when the kernel cannot be read. */
  async run(request: PassRequest): Promise<ReconcileResult> {
    const startMs = performance.now();
    this.#lookCause = { cause: request.isAudit ? "audit" : "notification" };
    if (request.wanted !== undefined) await this.#setWanted(request.wanted);
    if (request.isNewChance) this.failures.retryAll();
    if (request.kinds.size > 0) await this.#look(request.kinds, this.#hasLooked);
    const repaired: Repair[] = [];
    const failed: ProgramFailure[] = [];
    const operations = await this.#programAll(failed, repaired);
    if (operations > 0) this.#options.logger.verbose(1, "host.programmed", `wrote ${operations} kernel objects`);
    this.repairs.record(repaired, performance.now());
    this.#logFailures(failed);
    this.failures.sweep(startMs);
    return {
      operations,
      failures: failed.map(({ slot, error }) => ({ object: this.line(slot), error: error.message, attempts: 1 })),
      durationMs: performance.now() - startMs,
    };
  }

  /** Writes in its plain form what stands in another one; returns the number of objects rewritten. */
  async handover(): Promise<number> {
    let rewritten = 0;
    for (const kind of hostKinds) rewritten += await this.#makePlain(kind);
    return rewritten;
  }

  async #makePlain(kind: Kind): Promise<number> {
    const { plainForm } = kind;
    if (plainForm === undefined) return 0;
    plainForm.require(this.#host);
    await this.#look(new Set([kind]), this.#hasLooked);
    const slots = [...this.table.slots(kind)].filter(
      ({ desired, observed }) => desired !== undefined && observed !== undefined && !plainForm.isPlain(observed),
    );
    const operations = slots.map((slot): Operation => ({ action: "replace", slot }));
    const failed = await kind.program(operations, this.#host, this.#options.signal);
    this.#settle(operations, failed, []);
    const [first] = failed;
    if (first !== undefined) {
      const message = `cannot hand over: ${failed.length} of ${operations.length} objects could not be rewritten; first ${this.line(first.slot)}`;
      throw new FlannelError("KERNEL_REJECTED", message, { cause: first.error, retryable: true });
    }
    await kind.tidy?.(this.#host, this.#options.signal);
    return operations.length;
  }

  difference(): Promise<string[]> {
    const { netlink, ownership } = this.#options;
    return hostDifference(netlink, ownership, this.table.state, this.#removal);
  }

  isProgrammed(kind: Kind, key: string): boolean {
    const slot = this.table.get(kind, key);
    return slot?.desired !== undefined && this.#isInPlace(slot);
  }

  /** What nobody wants is no hindrance. */
  #isInPlace(slot: Slot | undefined): boolean {
    // The usual case, and asked for thousands of objects at a time.
    if (slot?.desired === undefined || this.dirty.size === 0) return true;
    if (this.dirty.has(slot)) return false;
    return (slot.kind.requires?.(slot.desired, this.table) ?? []).every((required) => this.#isInPlace(required));
  }

  /** Until something is to be tried again; undefined when nothing is. */
  nextAttemptInMs(): number | undefined {
    const at = this.failures.nextAttemptMs();
    return at === undefined ? undefined : at - performance.now();
  }

  watch(): Watch {
    const nowMs = performance.now();
    return {
      host: this.#host,
      watchedDevices: this.#watchedDevices,
      isResting: (slot) =>
        slot !== undefined && this.failures.isContested(slot) && this.failures.isWaiting(slot, nowMs),
    };
  }

  /** Many of a kind make a turn of their own; what is wanted is judged in the turn in which it is set. */
  async #setWanted(wanted: NonNullable<PassRequest["wanted"]>): Promise<void> {
    const { prune, forbidden = [], because } = wanted;
    if (because !== undefined) this.#because = because;
    const mustJudgeAll = prune !== this.#removal.prune || String(forbidden) !== String(this.#removal.forbidden ?? []);
    this.#removal = { prune, forbidden };
    for (const { kind, touched } of this.table.setDesiredByKind(wanted.state)) {
      for (const slot of touched) {
        this.failures.succeed(slot); // what is wanted has changed: a past failure says nothing
        this.#judge(slot, false);
        this.#watchDeviceOf(slot);
      }
      if (mustJudgeAll) for (const slot of this.table.slots(kind)) this.#judge(slot, false);
      if (mustJudgeAll || touched.length >= SLOTS_PER_TURN) await nextTurn();
    }
  }

  #watchDeviceOf({ kind, desired }: Slot): void {
    if (desired === undefined) return;
    const device = kind.dependsOn === undefined ? kind.deviceOf?.(desired) : kind.dependsOn(desired);
    if (device !== undefined && !this.#options.ownership.ownDevices.has(device)) this.#watchedDevices.add(device);
  }

  async #look(kinds: ReadonlySet<Kind>, countsRepairs: boolean): Promise<void> {
    const judge = (slot: Slot): void => this.#judge(slot, countsRepairs);
    await this.#options.aroundLook(() => look(kinds, this.#host, judge));
    this.#hasLooked = true;
  }

  /** Files a slot as in order or not. One that was in order and is not any more was changed by another program. */
  #judge(slot: Slot, countsRepairs: boolean): void {
    if (this.#operationFor(slot) === undefined) {
      this.#clear(slot);
    } else if (!this.dirty.has(slot)) {
      this.dirty.add(slot);
      if (!countsRepairs) return;
      const { kind, observed } = slot;
      this.#repairing.set(slot, observed === undefined ? undefined : kind.observedLine(observed));
      this.failures.admitRepair(slot, performance.now());
    }
  }

  #clear(slot: Slot): void {
    this.dirty.delete(slot);
    this.#repairing.delete(slot);
    this.failures.succeed(slot);
    if (slot.desired !== undefined || slot.observed !== undefined) return;
    this.table.discardIfEmpty(slot);
    this.failures.forget(slot);
  }

  #operationFor(slot: Slot): HostOperation | undefined {
    return operationFor(slot, this.table, { ...this.#removal, ownDevices: this.#options.ownership.ownDevices });
  }

  async #programAll(failed: ProgramFailure[], repaired: Repair[]): Promise<number> {
    let plan = await this.#plan();
    let operations = 0;
    for (const { kind, additions } of plan.filter((stage) => stage.kind.isFoundation === true)) {
      if (additions.length === 0) continue;
      operations += additions.length;
      await this.#program(kind, additions, failed, repaired);
      // Indexes, and what hangs on the device, are no longer what they were.
      await this.#look(new Set(hostKinds), false);
      plan = await this.#plan();
      const left = plan.find((stage) => stage.kind === kind)?.additions ?? [];
      for (const { slot } of left.splice(0)) this.#failUnchanged(slot, failed);
    }
    for (const { kind, additions } of plan) {
      if (kind.isFoundation === true) continue;
      operations += additions.length;
      await this.#program(kind, additions, failed, repaired);
    }
    for (const { kind, removals } of plan.toReversed()) {
      operations += removals.length;
      await this.#program(kind, removals, failed, repaired);
      if (this.#removal.prune) await kind.tidy?.(this.#host, this.#options.signal);
    }
    return operations;
  }

  #failUnchanged(slot: Slot, failed: ProgramFailure[]): void {
    const message = `the kernel accepted the change of ${slot.key} but did not apply it`;
    const error = new FlannelError("KERNEL_REJECTED", message);
    this.failures.fail(slot, error.message, performance.now());
    failed.push({ slot, error });
  }

  /** What is to be done now, in the order of kinds. Refusals become failures here. */
  async #plan(): Promise<readonly Stage[]> {
    const plan = new Map<Kind, Stage>(hostKinds.map((kind) => [kind, { kind, additions: [], removals: [] }]));
    this.blocked.clear();
    const nowMs = performance.now();
    let judged = 0;
    for (const slot of this.dirty) {
      if (++judged % SLOTS_PER_TURN === 0) await nextTurn();
      if (this.failures.isWaiting(slot, nowMs)) continue;
      const operation = this.#operationFor(slot);
      if (operation === undefined) {
        this.#clear(slot);
      } else if (operation.action === "refuse") {
        this.#refuse(slot, operation.reason, nowMs);
      } else if (!this.#isBlocked(slot)) {
        const stage = plan.get(slot.kind);
        (operation.action === "remove" ? stage?.removals : stage?.additions)?.push(operation);
      }
    }
    return [...plan.values()];
  }

  /** By something that must be there, or gone, first; counts it. */
  #isBlocked(slot: Slot): boolean {
    const obstacle = obstacleTo(slot, this.#host);
    if (obstacle === undefined) return false;
    this.blocked.set(obstacle, (this.blocked.get(obstacle) ?? 0) + 1);
    return true;
  }

  #refuse(slot: Slot, reason: string, nowMs: number): void {
    this.failures.fail(slot, reason, nowMs);
    if (this.failures.attemptsOf(slot) === 1) this.#options.logger.error("host.refused", reason);
  }

  async #program(
    kind: Kind,
    operations: readonly Operation[],
    failed: ProgramFailure[],
    repaired: Repair[],
  ): Promise<void> {
    if (operations.length === 0) return;
    const { logger, ownership, signal } = this.#options;
    for (const operation of operations) {
      logger.verbose(4, "host.object", () => operationLines([operation], ownership.ownDevices).join(" "), {
        ...(this.#repairing.has(operation.slot) ? this.#lookCause : this.#because),
      });
    }
    const lines = new Map(
      operations
        .filter(({ slot }) => this.#repairing.has(slot))
        .map(({ slot }) => [slot, repairOf(slot, this.line(slot), this.#repairing.get(slot))]),
    );
    const failures = await kind.program(operations, this.#host, signal);
    this.#settle(operations, failures, failed);
    const at = new Date().toISOString();
    for (const [slot, line] of lines) if (!this.failures.has(slot)) repaired.push({ at, ...line });
  }

  #settle(operations: readonly Operation[], failures: readonly ProgramFailure[], failed: ProgramFailure[]): void {
    const nowMs = performance.now();
    const failedSlots = new Set(failures.map((failure) => failure.slot));
    for (const failure of failures) {
      this.failures.fail(failure.slot, failure.error.message, nowMs);
      failed.push(failure);
    }
    for (const { action, slot } of operations) {
      if (failedSlots.has(slot)) continue;
      // What became of it is only known by the look that follows.
      if (slot.kind.isFoundation === true && action !== "remove") continue;
      this.#clear(slot);
    }
  }

  #logFailures(failed: readonly ProgramFailure[]): void {
    const fresh = failed.filter(({ slot }) => this.failures.attemptsOf(slot) === 1);
    if (fresh.length === 0) return;
    const named = fresh.slice(0, FAILURES_NAMED_IN_LOG).map(({ error }) => error.message);
    const others = fresh.length - named.length;
    this.#options.logger.error(
      "host.failed",
      `the kernel refused: ${named.join("; ")}${others > 0 ? ` and ${others} more` : ""}; retrying`,
      { count: fresh.length },
    );
  }

  /** As `ip`, `bridge` or `sysctl` show it. */
  line(slot: Slot): string {
    return slotLine(slot, this.#options.ownership.ownDevices);
  }
}
