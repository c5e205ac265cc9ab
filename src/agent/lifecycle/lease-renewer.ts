// Keeps our own lease alive for as long as the agent runs: renews it, republishes changed attributes, takes it again
// when an operator deleted it, and notices when another program or person writes it. One loop does all of it in turn, so that an
// event about our own write is never mistaken for another host's.
import { BackOff } from "../../async/back-off.ts";
import { type PassEnd, ReconcileLoop } from "../../async/reconcile-loop.ts";
import { describeError, FlannelError, hasCode, isCancelled } from "../../errors.ts";
import type { Lease, LeaseAttributes, OwnLease, Revision } from "../../lease/lease.ts";
import { describeOwner, hasSamePublicIp } from "../../lease/lease-owner.ts";
import type { TableUpdate } from "../../lease/lease-table.ts";
import type { SubnetStore } from "../../store/subnet-store.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import { LeaseLife } from "./lease-life.ts";
import { measured } from "./store-requests.ts";

export interface LeaseRenewerOptions {
  readonly store: SubnetStore;
  readonly lease: OwnLease;
  readonly attributes: LeaseAttributes;
  /** How long before its expiry the lease is renewed. */
  readonly renewMarginMs: number;
  /**
   * Takes a lease again, the same subnet where free. Called after the key was deleted. `LEASE_CONFLICT`: another host has
   * our subnet.
   */
  readonly acquire: (signal: AbortSignal) => Promise<OwnLease>;
  /** The lease as it now stands: renewed, republished, or another one after `acquire`. */
  readonly onLease: (lease: OwnLease) => void;
  /** Another host owns our subnet now. The renewer has stopped; the agent must. */
  readonly onTaken: (error: FlannelError) => void;
  readonly logger: Logger;
  readonly metrics?: MetricsRecorder;
  readonly signal: AbortSignal;
  /** Longest sleep; bounds how late a clock jump is noticed. */
  readonly pollMs?: number;
  /** Pause after a first failure; doubles from there. */
  readonly retryFirstMs?: number;
}

/** A clock that jumped past the expiry makes the agent unready until the lease is renewed: it should be seconds. */
const POLL_MS = 5_000;
const RETRY = { firstMs: 1_000, maxMs: 60_000 } as const;
/** A lease that was a reservation until now: as long as its true end is unknown. */
const ASSUMED_LIFE_MS = 60_000;

export class LeaseRenewer implements AsyncDisposable {
  readonly #options: LeaseRenewerOptions;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #loop: ReconcileLoop;
  #lease: OwnLease;
  #attributes: LeaseAttributes;
  #attributesChanged = false;
  #written: Lease | undefined;
  #deletedAt: Revision | undefined;
  /** Our lease is gone, and has not been taken again yet. */
  #isGone = false;
  #isStoreReplaced = false;
  /** The last write of our key that we know of; undefined: this store was not heard before, all it says is news. */
  #known: Revision | undefined;
  #conflict: string | undefined;
  /** Why the store did not take what we wrote last. */
  #writeProblem: string | undefined;
  #life: LeaseLife;
  readonly #backOff: BackOff;

  private constructor(options: LeaseRenewerOptions) {
    this.#options = options;
    this.#lease = options.lease;
    this.#known = options.lease.revision;
    this.#attributes = options.attributes;
    this.#followWriteProblem();
    this.#signal = AbortSignal.any([options.signal, this.#abort.signal]);
    this.#life = new LeaseLife(options.lease.expiresAtMs, options.renewMarginMs);
    this.#backOff = new BackOff({ ...RETRY, firstMs: options.retryFirstMs ?? RETRY.firstMs });
    this.#loop = new ReconcileLoop({ pass: () => this.#turn(), debounceMs: 0, signal: this.#signal });
    this.#wake();
  }

  static start(options: LeaseRenewerOptions): LeaseRenewer {
    return new LeaseRenewer(options);
  }

  /** See `LeaseLife.expiresAtMs`. */
  get expiresAtMs(): number | undefined {
    return this.#life.expiresAtMs;
  }

  get lease(): OwnLease {
    return this.#lease;
  }

  /** Why the lease cannot be relied on right now; undefined while it is ours and valid. */
  problem(): string | undefined {
    if (this.#conflict !== undefined) return this.#conflict;
    if (this.#life.hasEnded) return "the lease has expired and could not be renewed";
    return this.#isDeleted ? "the lease was revoked: re-acquiring the lease" : undefined;
  }

  /** Why the store did not take our last write, for which the lease is no worse; undefined when it did. */
  get writeProblem(): string | undefined {
    return this.#writeProblem;
  }

  /** Whether `problem` is that the lease was deleted and is being taken again: over in a moment, as a rule. */
  get isBeingRetaken(): boolean {
    return this.#deletedAt !== undefined && this.#conflict === undefined;
  }

  /** Publishes what we announce now, in place; the subnet stays. */
  setAttributes(attributes: LeaseAttributes): void {
    if (isSame(attributes, this.#attributes)) return;
    this.#attributes = attributes;
    this.#attributesChanged = true;
    this.#wake();
  }

  /** What the store's changes say about our own key. */
  follow({ storeReplaced, ownWritten, ownDeletedAt }: Omit<TableUpdate, "peersChanged">): void {
    if (storeReplaced === true) this.#onStoreReplaced();
    if (ownWritten !== undefined) this.ownWritten(ownWritten);
    if (ownDeletedAt !== undefined) this.ownDeleted(ownDeletedAt);
  }

  /** The store says that our key was written: by us, by an operator's command or by another host. */
  ownWritten(lease: Lease): void {
    if (!this.#isNews(lease.revision)) return;
    this.#written = lease;
    if (this.#deletedAt !== undefined && lease.revision.isAfter(this.#deletedAt)) this.#deletedAt = undefined;
    this.#wake();
  }

  /** The store says that our key is gone as of `revision`. */
  ownDeleted(revision: Revision): void {
    if (!this.#isNews(revision)) return;
    this.#deletedAt = revision;
    if (this.#written !== undefined && revision.isAfter(this.#written.revision)) this.#written = undefined;
    this.#wake();
  }

  /** The store answers again: what failed before may succeed now. */
  retryNow(): void {
    this.#wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#loop[Symbol.asyncDispose]();
  }

  #wake(): void {
    this.#loop.queuePass();
  }

  /** Never rejects. */
  async #turn(): Promise<PassEnd<void>> {
    if (this.#loop.isStopped) return { result: undefined };
    try {
      await this.#step();
      this.#backOff.reset();
    } catch (error) {
      if (this.#signal.aborted || isCancelled(error)) {
        this.#loop.close();
        return { result: undefined };
      }
      if (hasCode(error, "LEASE_CONFLICT") && !this.#sharesOurAddress(error)) {
        this.#loop.close();
        this.#options.onTaken(error);
        return { result: undefined };
      }
      const pauseMs = this.#pauseAfter(error);
      if (pauseMs !== undefined) return { result: undefined, repeatInMs: pauseMs };
    }
    return { result: undefined, repeatInMs: this.#untilNextTurnMs() };
  }

  /** The store is another one, or an older copy: our lease is to be looked for, and what it knows of it may be old. */
  #onStoreReplaced(): void {
    this.#isStoreReplaced = true;
    this.#written = undefined;
    this.#known = undefined;
    this.#wake();
  }

  async #step(): Promise<void> {
    if (this.#isStoreReplaced) {
      await this.#takeAgain("the store was replaced");
      return;
    }
    if (this.#written !== undefined) this.#judgeForeignWrite(this.#written);
    if (this.#deletedAt !== undefined && this.#isNews(this.#deletedAt)) {
      await this.#takeAgain("the lease was revoked in the store");
      return;
    }
    this.#deletedAt = undefined;
    this.#isGone = false;
    if (this.#conflict !== undefined) return;
    if (this.#attributesChanged || this.#life.isRenewalDue) await this.#renew();
  }

  async #renew(): Promise<void> {
    this.#attributesChanged = false;
    try {
      const mustWrite = this.#writeProblem !== undefined;
      const { store, metrics } = this.#options;
      const lease = await measured(metrics, "renew", () =>
        store.renew(this.#lease, this.#attributes, this.#signal, mustWrite),
      );
      this.#adopt(lease);
      this.#options.metrics?.count("flannel_lease_renewals_total", { result: "renewed" });
      this.#options.logger.info("lease.renewed", `renewed lease ${lease.key}`, {
        ...(lease.expiresAtMs !== undefined && { expiresAt: new Date(lease.expiresAtMs).toISOString() }),
      });
    } catch (error) {
      if (!hasCode(error, "LEASE_LOST")) {
        this.#attributesChanged = true;
        if (isRefusal(error)) this.#writeProblem = describeError(error);
        throw error;
      }
      await this.#takeAgain("the lease is gone from the store");
    }
  }

  async #takeAgain(why: string): Promise<void> {
    this.#isGone = true;
    this.#options.metrics?.count("flannel_lease_reacquisitions_total", {});
    this.#options.logger.warn("lease.reacquire", `${why}: re-acquiring the lease`, { key: this.#lease.key });
    const wasReplaced = this.#isStoreReplaced;
    this.#isStoreReplaced = false;
    const lease = await this.#options.acquire(this.#signal).catch((error: unknown) => {
      this.#isStoreReplaced ||= wasReplaced;
      throw error;
    });
    this.#deletedAt = undefined;
    this.#isGone = false;
    this.#conflict = undefined;
    this.#adopt(lease);
  }

  /**
   * A write we did not make. Same content: an operator made it a reservation or took that back. Other public IP: the
   * subnet has another owner. Same public IP, other content or lease: a second agent announces this address.
   */
  #judgeForeignWrite(written: Lease): void {
    this.#written = undefined;
    if (!this.#isNews(written.revision)) return;
    // Perhaps our own write, whose answer was lost: the renewal that is due again finds out.
    if (this.#attributesChanged && isSame(written.attributes, this.#attributes)) return;
    const { attributes } = this.#lease;
    const { isReservation } = written;
    const sameContent = isSame(written.attributes, attributes);
    if (sameContent && isReservation !== this.#lease.isReservation) {
      this.#options.logger.info(
        "lease.reservation",
        isReservation
          ? "the lease is now a reservation: it never expires"
          : "the reservation is now a lease: it expires unless renewed",
        { key: written.key },
      );
      // The true expiry of a lease that is no longer a reservation is learned by renewing it at once.
      this.#adopt({ ...written, ...(isReservation ? {} : { expiresAtMs: Date.now() + ASSUMED_LIFE_MS }) });
      this.#attributesChanged ||= !isReservation;
      return;
    }
    const other = describeOwner(written.attributes);
    const ours = describeOwner(this.#attributes);
    if (hasSamePublicIp(written.attributes, attributes)) {
      this.#conflict = `another agent announces this host's public IP: it wrote ${other}; this agent is ${ours}`;
      this.#options.logger.error(
        "lease.conflict",
        `${this.#conflict}. The agent stops renewing and keeps forwarding.`,
        {
          key: written.key,
        },
      );
      return;
    }
    throw new FlannelError("LEASE_CONFLICT", `lease ${written.key} was taken by ${other}; this agent is ${ours}`, {
      details: { sharesPublicIp: false },
    });
  }

  #sharesOurAddress(error: FlannelError): boolean {
    return error.details["sharesPublicIp"] === true;
  }

  /** Undefined: not to be retried. */
  #pauseAfter(error: unknown): number | undefined {
    if (hasCode(error, "LEASE_CONFLICT")) {
      this.#conflict = error.message;
      this.#options.logger.error("lease.conflict", `${error.message}. The agent stops renewing and keeps forwarding.`);
      return undefined;
    }
    const waitMs = this.#backOff.nextMs();
    this.#options.metrics?.count("flannel_lease_renewals_total", { result: "failed" });
    this.#options.logger.warn(
      "lease.renewal-failed",
      `cannot renew the lease; retrying in ${Math.ceil(waitMs / 1_000)} s`,
      {
        error: describeError(error),
      },
    );
    return waitMs;
  }

  #adopt(lease: OwnLease): void {
    this.#lease = lease;
    this.#known = lease.revision;
    this.#followWriteProblem();
    this.#life = new LeaseLife(lease.expiresAtMs, this.#options.renewMarginMs);
    this.#options.onLease(lease);
  }

  /** What the store did not take is written again. */
  #followWriteProblem(): void {
    this.#writeProblem = this.#lease.notWritten;
    this.#attributesChanged ||= this.#writeProblem !== undefined;
  }

  #isNews(revision: Revision): boolean {
    return this.#known === undefined || revision.isAfter(this.#known);
  }

  get #isDeleted(): boolean {
    return this.#isGone || this.#deletedAt !== undefined;
  }

  #untilNextTurnMs(): number {
    if (this.#hasWork()) return 0;
    // While we must not renew, what is due does not count.
    const untilRenewalMs = this.#conflict === undefined ? this.#life.untilRenewalMs : POLL_MS;
    return Math.min(Math.max(untilRenewalMs, 10), this.#options.pollMs ?? POLL_MS);
  }

  #hasWork(): boolean {
    if (this.#isStoreReplaced || this.#written !== undefined || this.#isDeleted) return true;
    return this.#attributesChanged && this.#conflict === undefined;
  }
}

/** The store answered that it does not take the lease; one that cannot be reached is reported as such. */
function isRefusal(error: unknown): boolean {
  if (isCancelled(error) || hasCode(error, "LEASE_CONFLICT", "FILE_FAILED")) return false;
  return !(error instanceof FlannelError && error.details["isUnanswered"] === true);
}

function isSame(a: LeaseAttributes, b: LeaseAttributes): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
