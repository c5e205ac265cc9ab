// One pass of the reconciler: look where told, work out what differs, program it in order, remember what failed.
import { setImmediate as nextTurn } from "node:timers/promises";
import { FlannelError } from "../../errors.ts";
import type { Prefix } from "../../ip/address.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import { type HostKind, hostKinds, kindRules, underlayOf } from "../kinds/host-objects.ts";
import type { HostState } from "../kinds/host-state.ts";
import type { DeviationContext } from "./deviation.ts";
import { type HostOperation, operationFor, operationLines, slotLine } from "./diff.ts";
import { FailureBook } from "./failure-book.ts";
import { hostDifference } from "./host-difference.ts";
import { look } from "./host-observer.ts";
import { type AnySlot, HostTable } from "./host-table.ts";
import { NextHopPool } from "./next-hop-pool.ts";
import { LinkDirectory, type Ownership, ownDeviceName } from "./observed-state.ts";
import type { ProgramFailure } from "./program-context.ts";
import { program } from "./programmer.ts";
import { type Repair, RepairLog, repairOf } from "./repair-log.ts";
import { RouteProgrammer } from "./route-programmer.ts";

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

export interface PassRequest {
  readonly wanted: { readonly state: HostState; readonly prune: boolean } | undefined;
  /** Looked at before anything else; empty: none. */
  readonly kinds: ReadonlySet<HostKind>;
  readonly isNewChance: boolean;
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

type Plan = { readonly [K in HostKind]: { readonly additions: HostOperation[]; readonly removals: HostOperation[] } };

export class ReconcilePass {
  readonly table = new HostTable();
  readonly failures = new FailureBook();
  readonly repairs: RepairLog;
  /** Slots that are not as wanted. */
  readonly dirty = new Set<AnySlot>();
  /** Slots that wait for a device, by the reason. */
  readonly blocked = new Map<string, number>();
  readonly #options: PassOptions;
  readonly #links = new LinkDirectory();
  readonly #pool = new NextHopPool();
  readonly #routes: RouteProgrammer;
  readonly #repairing = new Set<AnySlot>();
  readonly #watchedDevices = new Set<string>();
  #prune = false;
  #hasLooked = false;

  constructor(options: PassOptions) {
    this.#options = options;
    this.repairs = new RepairLog(options.logger, options.metrics);
    const context = { netlink: options.netlink, links: this.#links, signal: options.signal };
    this.#routes = new RouteProgrammer(context, this.#pool, options.ownership.ownDevices);
  }

  /** Nothing is known of the kernel before. */
  get hasLooked(): boolean {
    return this.#hasLooked;
  }

  /** Throws only when the kernel cannot be read. */
  async run(request: PassRequest): Promise<ReconcileResult> {
    const startMs = performance.now();
    if (request.wanted !== undefined) await this.#setWanted(request.wanted);
    if (request.isNewChance) this.failures.retryAll();
    if (request.kinds.size > 0) await this.#look(request.kinds, this.#hasLooked);
    const repaired: Repair[] = [];
    const failed: ProgramFailure[] = [];
    const operations = await this.#programAll(failed, repaired);
    if (operations > 0) this.#options.logger.verbose(1, "host.programmed", `${operations} kernel objects written`);
    this.repairs.record(repaired);
    this.#logFailures(failed);
    this.failures.sweep(startMs);
    return {
      operations,
      failures: failed.map(({ slot, error }) => ({ object: this.line(slot), error: error.message, attempts: 1 })),
      durationMs: performance.now() - startMs,
    };
  }

  /** Returns the number of routes written anew. */
  async handover(): Promise<number> {
    this.#pool.forcePlain();
    await this.#look(new Set(["route"]), this.#hasLooked);
    const slots = [...this.table.slots("route")].filter(({ desired }) => desired !== undefined);
    const indirect = slots.filter(({ observed }) => observed?.nextHopId !== undefined);
    const operations = indirect.map((slot): HostOperation => ({ action: "replace", slot }));
    const failed = await this.#routes.program(operations);
    this.#settle(operations, failed, []);
    await this.#routes.removeUnusedNextHops();
    return operations.length - failed.length;
  }

  difference(): Promise<string[]> {
    const { netlink, ownership } = this.#options;
    return hostDifference(netlink, ownership, this.table.state, this.#prune);
  }

  isRouteProgrammed(destination: Prefix): boolean {
    const route = this.table.get("route", destination);
    if (route?.desired === undefined || this.dirty.has(route)) return false;
    const { device, gateway } = route.desired;
    if (gateway === undefined) return true;
    const neighbour = this.table.get("neighbour", kindRules.neighbour.key({ device, address: gateway, mac: "" }));
    if (neighbour?.desired === undefined) return true;
    if (this.dirty.has(neighbour)) return false;
    const { mac } = neighbour.desired;
    const entry = this.table.get("fdb", kindRules.fdb.key({ device, mac, destination: gateway }));
    return entry === undefined || !this.dirty.has(entry);
  }

  /** Until something is to be tried again; undefined when nothing is. */
  nextAttemptInMs(): number | undefined {
    const at = this.failures.nextAttemptMs();
    return at === undefined ? undefined : at - performance.now();
  }

  deviationContext(): DeviationContext {
    const nowMs = performance.now();
    return {
      table: this.table,
      links: this.#links,
      pool: this.#pool,
      ownership: this.#options.ownership,
      watchedDevices: this.#watchedDevices,
      isResting: (slot) => this.failures.isContested(slot) && this.failures.isWaiting(slot, nowMs),
    };
  }

  /** Many of a kind make a turn of their own; what is wanted is judged in the turn in which it is set. */
  async #setWanted(wanted: NonNullable<PassRequest["wanted"]>): Promise<void> {
    const mustJudgeAll = wanted.prune !== this.#prune;
    this.#prune = wanted.prune;
    for (const { kind, touched } of this.table.setDesiredByKind(wanted.state)) {
      for (const slot of touched) {
        this.failures.succeed(slot); // what is wanted has changed: a past failure says nothing
        this.#judge(slot, false);
        this.#watch(slot);
      }
      if (mustJudgeAll) for (const slot of this.table.slots(kind)) this.#judge(slot as AnySlot, false);
      if (mustJudgeAll || touched.length >= SLOTS_PER_TURN) await nextTurn();
    }
  }

  #watch({ kind, desired }: AnySlot): void {
    if (desired === undefined) return;
    const device = kind === "link" ? underlayOf(desired) : kind === "route" ? desired.device : undefined;
    if (device !== undefined && !this.#options.ownership.ownDevices.has(device)) this.#watchedDevices.add(device);
  }

  async #look(kinds: ReadonlySet<HostKind>, countsRepairs: boolean): Promise<void> {
    const { netlink, ownership, aroundLook } = this.#options;
    const view = { netlink, table: this.table, links: this.#links, pool: this.#pool, ownership };
    await aroundLook(() => look(kinds, view, (slot) => this.#judge(slot as AnySlot, countsRepairs)));
    this.#hasLooked = true;
  }

  /** Files a slot as in order or not. One that was in order and is not any more was changed by somebody else. */
  #judge(slot: AnySlot, countsRepairs: boolean): void {
    if (this.#operationFor(slot) === undefined) {
      this.#clear(slot);
    } else if (!this.dirty.has(slot)) {
      this.dirty.add(slot);
      if (!countsRepairs) return;
      this.#repairing.add(slot);
      if (!this.failures.admitRepair(slot, performance.now())) {
        this.#options.logger.warn(
          "host.contested",
          `somebody else keeps changing ${this.line(slot)}: repairs are paused`,
        );
      }
    }
  }

  #clear(slot: AnySlot): void {
    this.dirty.delete(slot);
    this.#repairing.delete(slot);
    this.failures.succeed(slot);
    if (slot.desired !== undefined || slot.observed !== undefined) return;
    this.table.discardIfEmpty(slot);
    this.failures.forget(slot);
  }

  #operationFor(slot: AnySlot): HostOperation | undefined {
    return operationFor(slot, this.table, { prune: this.#prune, ownDevices: this.#options.ownership.ownDevices });
  }

  async #programAll(failed: ProgramFailure[], repaired: Repair[]): Promise<number> {
    let plan = await this.#plan();
    let operations = plan.link.additions.length;
    if (operations > 0) {
      await this.#program(plan.link.additions, failed, repaired);
      // Indexes, and what hangs on the device, are no longer what they were.
      await this.#look(new Set(hostKinds), false);
      plan = await this.#plan();
      for (const { slot } of plan.link.additions) {
        const error = new FlannelError(
          "kernel.rejected",
          `the kernel took the change of ${slot.key} but shows it otherwise`,
        );
        this.failures.fail(slot, error.message, performance.now());
        failed.push({ slot, error });
      }
    }
    for (const kind of hostKinds) {
      if (kind === "link") continue;
      operations += plan[kind].additions.length;
      await this.#program(plan[kind].additions, failed, repaired);
    }
    for (const kind of hostKinds.toReversed()) {
      operations += plan[kind].removals.length;
      await this.#program(plan[kind].removals, failed, repaired);
      if (kind === "route" && this.#prune) await this.#routes.removeUnusedNextHops();
    }
    return operations;
  }

  /** What is to be done now, by kind. Refusals become failures here. */
  async #plan(): Promise<Plan> {
    const stage = (): Plan["link"] => ({ additions: [], removals: [] });
    const plan: Plan = {
      link: stage(),
      sysctl: stage(),
      address: stage(),
      neighbour: stage(),
      fdb: stage(),
      route: stage(),
      blackhole: stage(),
    };
    this.blocked.clear();
    const nowMs = performance.now();
    let judged = 0;
    for (const slot of this.dirty) {
      if (++judged % SLOTS_PER_TURN === 0) await nextTurn();
      if (this.failures.isWaiting(slot, nowMs)) continue;
      const operation = this.#operationFor(slot);
      if (operation === undefined) {
        this.#clear(slot);
        continue;
      }
      const obstacle = operation.action === "refuse" ? undefined : this.#obstacle(slot);
      if (operation.action === "refuse") this.#refuse(slot, operation.reason ?? "not ours", nowMs);
      else if (obstacle !== undefined) this.blocked.set(obstacle, (this.blocked.get(obstacle) ?? 0) + 1);
      else if (operation.action === "remove") plan[slot.kind].removals.push(operation);
      else plan[slot.kind].additions.push(operation);
    }
    return plan;
  }

  #refuse(slot: AnySlot, reason: string, nowMs: number): void {
    this.failures.fail(slot, reason, nowMs);
    if (this.failures.attemptsOf(slot) === 1) this.#options.logger.error("host.refused", reason);
  }

  /** Why it is of no use to try now: the kernel refuses what stands on a device that is missing or down. */
  #obstacle(slot: AnySlot): string | undefined {
    const object = slot.desired ?? slot.observed;
    if (object === undefined || !("device" in object) || object.device === undefined) return undefined;
    const link = this.#links.byName(object.device);
    if (link === undefined) return `device ${object.device} does not exist`;
    const { ownership } = this.#options;
    if (ownership.ownDevices.has(link.name) && ownDeviceName(link.index, this.#links, ownership) === undefined) {
      return `device ${link.name} is not ours`;
    }
    return link.isUp || slot.kind === "address" || slot.desired === undefined
      ? undefined
      : `device ${link.name} is down`;
  }

  async #program(operations: readonly HostOperation[], failed: ProgramFailure[], repaired: Repair[]): Promise<void> {
    if (operations.length === 0) return;
    const { logger, netlink, ownership, signal } = this.#options;
    for (const operation of operations) {
      logger.verbose(4, "host.object", () => operationLines([operation], ownership.ownDevices).join(" "));
    }
    const lines = new Map(
      operations
        .filter(({ slot }) => this.#repairing.has(slot))
        .map(({ slot }) => [slot, repairOf(slot, this.line(slot))]),
    );
    const failures = await program(operations, { netlink, signal, links: this.#links }, this.#routes);
    this.#settle(operations, failures, failed);
    const at = new Date().toISOString();
    for (const [slot, line] of lines) if (!this.failures.has(slot)) repaired.push({ at, ...line });
  }

  #settle(operations: readonly HostOperation[], failures: readonly ProgramFailure[], failed: ProgramFailure[]): void {
    const nowMs = performance.now();
    const failedSlots = new Set(failures.map((failure) => failure.slot));
    for (const failure of failures) {
      this.failures.fail(failure.slot, failure.error.message, nowMs);
      failed.push(failure);
    }
    for (const { action, slot } of operations) {
      if (failedSlots.has(slot)) continue;
      if (slot.kind === "link" && action === "remove") slot.observed = undefined;
      // What became of a link that was made or changed is only known by the look that follows.
      else if (slot.kind === "link") continue;
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
      `the kernel refused: ${named.join("; ")}${others > 0 ? ` and ${others} more` : ""}; trying again`,
      { count: fresh.length },
    );
  }

  /** As `ip`, `bridge` or `sysctl` show it. */
  line(slot: AnySlot): string {
    return slotLine(slot, this.#options.ownership.ownDevices);
  }
}
