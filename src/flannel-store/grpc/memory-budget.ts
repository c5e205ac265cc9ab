// The bytes of requests and answers that the server holds for its clients, counted before they are there. One limit for
// all connections, a share for each. When the limit is reached the connection that has held a portion for longest is
// closed: a client that sends or reads needs milliseconds.
import { collectGarbage } from "../../sys/large-buffers.ts";
import { refusals } from "./rpc-error.ts";

/** Between looks for old portions, while there are any. */
const LOOK_MS = 100;
/** A portion that was there at fewer looks is not taken away. Not by time: when we were busy nobody is to blame. */
const GRACE_LOOKS = 5;
/** One connection may hold this part of the limit. Alone it may hold one portion of any size. */
const SHARE = 1 / 8;
/** Small portions may use this much more, so that short calls are served beside large ones. */
const SMALL_BYTES = 16 * 1024;
const RESERVE = 1 / 8;
const LEAST_PART = 1 / 4;
/** Answers and events, which can wait, use at most this part: requests come in beside them. */
const ANSWERS_PART = 3 / 4;
const ANNOUNCED_AT_ONCE = 2;
/** What HTTP/2 lets a client send on all streams of a connection before we take it. */
export const CONNECTION_WINDOW_BYTES = 256 * 1024;

type Use = "request" | "answer";

interface Waiter {
  readonly account: Account;
  readonly bytes: number;
  /** With undefined when the account was closed meanwhile. */
  resolve(portion: Portion | undefined): void;
}

export class MemoryBudget implements Disposable {
  /** Oldest first. */
  readonly #portions = new Set<Portion>();
  readonly #accounts = new Set<Account>();
  #waiters: Waiter[] = [];
  readonly #wantRoom = new Set<Account>();
  #timer: NodeJS.Timeout | undefined;
  #isTelling = false;
  #looks = 0;
  /** Of connections that were just closed: garbage, until the next look collects it. */
  #dyingBytes = 0;
  #usedBytes = 0;
  #lastingBytes = 0;
  readonly #totalBytes: number;

  constructor(totalBytes: number) {
    this.#totalBytes = totalBytes;
  }

  /** For requests and answers: what connections, calls and watches need goes off, up to three quarters. */
  get limitBytes(): number {
    return Math.max(this.#totalBytes - this.#lastingBytes, this.#totalBytes * LEAST_PART);
  }

  /** Counts what lasts: a connection, a call, a watch; and with a negative number its end. Each kind has a limit of its own. */
  countLasting(bytes: number): void {
    this.#lastingBytes += bytes;
  }

  /** Of one connection. `evict` closes it; its portions no longer count from then on. */
  open(evict: () => void): Account {
    const account = new Account(this, evict);
    this.#accounts.add(account);
    return account;
  }

  /** Whether `bytes` more fit, for this account and for all. */
  hasRoom(account: Account, bytes: number, use: Use): boolean {
    if (account.isFull(bytes)) return false;
    const reserve = bytes <= SMALL_BYTES ? this.limitBytes * RESERVE : 0;
    if (use === "request") return this.#usedBytes + bytes <= this.limitBytes + reserve;
    const usedBytes = this.#usedBytes + this.#dyingBytes;
    return usedBytes + bytes <= this.limitBytes * ANSWERS_PART || usedBytes === 0;
  }

  /** Whether an account's own share is used up. One portion of any size is within it. */
  isShareFull({ heldBytes }: Account, bytes: number): boolean {
    return heldBytes > 0 && heldBytes + bytes > this.limitBytes * SHARE;
  }

  /** Adds a portion without a question: for bytes that are there already. A closed account holds nothing any more. */
  add(account: Account, bytes: number): Portion {
    const portion = new Portion(account, this.#looks);
    if (!this.#accounts.has(account)) return portion;
    this.#portions.add(portion);
    this.grow(portion, bytes);
    this.#startLooking();
    return portion;
  }

  /** Closes connections that have held something for too long until `bytes` fit. False when they do not. */
  makeRoom(account: Account, bytes: number, use: Use): boolean {
    while (!this.hasRoom(account, bytes, use)) {
      const oldest = account.isFull(bytes) ? undefined : this.#oldestOfOthers(account);
      if (oldest === undefined) return false;
      this.#dyingBytes += oldest.account.heldBytes;
      oldest.account.evict();
      // An answer is made when it can be in the memory that has become free.
      if (use === "answer") return false;
    }
    return true;
  }

  /** Resolves with the portion when there is room for it; with undefined when the account is closed first. */
  wait(account: Account, bytes: number): Promise<Portion | undefined> {
    const { promise, resolve } = Promise.withResolvers<Portion | undefined>();
    this.#waiters.push({ account, bytes, resolve });
    this.#startLooking();
    return promise;
  }

  /** Its actions are called when there is room again. */
  notifyLater(account: Account): void {
    this.#wantRoom.add(account);
    this.#startLooking();
  }

  /** One that was released, or whose account is closed, stays as it is. */
  grow(portion: Portion, bytes: number): void {
    if (!this.#portions.has(portion)) return;
    portion.bytes += bytes;
    portion.account.heldBytes += bytes;
    this.#usedBytes += bytes;
  }

  shrink(portion: Portion, bytes: number): void {
    if (bytes <= 0 || !this.#portions.has(portion)) return;
    this.grow(portion, -bytes);
    this.#serve(portion.account);
  }

  release(portion: Portion): void {
    if (!this.#portions.delete(portion)) return;
    portion.account.heldBytes -= portion.bytes;
    this.#usedBytes -= portion.bytes;
    this.#serve(portion.account);
  }

  close(account: Account): void {
    if (!this.#accounts.delete(account)) return;
    this.#wantRoom.delete(account);
    const gone = this.#waiters.filter((waiter) => waiter.account === account);
    this.#waiters = this.#waiters.filter((waiter) => waiter.account !== account);
    for (const { resolve } of gone) resolve(undefined);
    for (const portion of this.#portions) if (portion.account === account) this.release(portion);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    for (const account of this.#accounts) this.close(account);
  }

  #oldestOfOthers(account: Account): Portion | undefined {
    for (const portion of this.#portions) {
      if (this.#looks - portion.sinceLook < GRACE_LOOKS) return undefined;
      if (portion.account !== account && !portion.isWorkedOn) return portion;
    }
    return undefined;
  }

  /** Something was released: first to those who hold least, then to streams that have fallen behind. */
  #serve(released?: Account): void {
    while (this.#waiters.length > 0) {
      const fitting = this.#waiters.filter(({ account, bytes }) => this.hasRoom(account, bytes, "answer"));
      const [first, ...others] = fitting;
      if (first === undefined) break;
      const next = others.reduce((best, one) => (one.account.heldBytes < best.account.heldBytes ? one : best), first);
      this.#waiters.splice(this.#waiters.indexOf(next), 1);
      next.resolve(this.add(next.account, next.bytes));
    }
    const isHalfEmpty = released !== undefined && released.heldBytes <= (this.limitBytes * SHARE) / 2;
    if (isHalfEmpty && this.#wantRoom.delete(released)) released.announceRoom();
    if (this.#wantRoom.size > 0 && this.#usedBytes <= this.limitBytes / 2) this.#announceSoon();
  }

  /** A few at a time: what they do then is work, and others have their turn in between. */
  #announceSoon(): void {
    if (this.#isTelling) return;
    this.#isTelling = true;
    setImmediate(() => {
      this.#isTelling = false;
      const fitting = [...this.#wantRoom].filter((account) => this.hasRoom(account, SMALL_BYTES, "answer"));
      for (const account of fitting.slice(0, ANNOUNCED_AT_ONCE)) {
        if (this.#wantRoom.delete(account)) account.announceRoom();
      }
      if (fitting.length > ANNOUNCED_AT_ONCE) this.#announceSoon();
    });
  }

  #startLooking(): void {
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
  }

  /** There are waiters: those that have held for long give way, if the limit is what is waited for. */
  #look(): void {
    this.#looks++;
    if (this.#dyingBytes > 0) {
      collectGarbage();
      this.#dyingBytes = 0;
      this.#serve();
    }
    // One of the old ones gives way at each look.
    const behind = [...this.#wantRoom].find((account) => !account.isFull(SMALL_BYTES));
    if (behind !== undefined && this.makeRoom(behind, SMALL_BYTES, "answer")) this.#announceSoon();
    const [first] = this.#waiters.filter(({ account, bytes }) => !account.isFull(bytes));
    if (first !== undefined) this.makeRoom(first.account, first.bytes, "answer");
    if (this.#waiters.length > 0 || this.#wantRoom.size > 0 || this.#portions.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** What one connection holds. */
export class Account {
  heldBytes = 0;
  readonly #budget: MemoryBudget;
  readonly #evict: () => void;
  readonly #paused = new Set<unknown>();
  #pausedPortion: Portion | undefined;
  /** Called when there is room again. */
  readonly onRoom = new Set<() => void>();

  constructor(budget: MemoryBudget, evict: () => void) {
    this.#budget = budget;
    this.#evict = evict;
  }

  /** More should not be sent to it now: `onRoom` is called later. */
  get isCongested(): boolean {
    if (this.#budget.hasRoom(this, SMALL_BYTES, "answer")) return false;
    this.#budget.notifyLater(this);
    return true;
  }

  /** Its own share is used up: waiting for others would not help. */
  isFull(bytes: number): boolean {
    return this.#budget.isShareFull(this, bytes);
  }

  /** Now, or a refusal is thrown. */
  take(bytes: number): Portion {
    if (!this.#budget.makeRoom(this, bytes, "request")) throw refusals.tooManyRequests();
    return this.#budget.add(this, bytes);
  }

  /** As soon as there is room; undefined when the connection is closed meanwhile. */
  async wait(bytes: number): Promise<Portion | undefined> {
    return this.#budget.makeRoom(this, bytes, "answer")
      ? this.#budget.add(this, bytes)
      : await this.#budget.wait(this, bytes);
  }

  /** For bytes that are there already. */
  add(bytes: number): Portion {
    return this.#budget.add(this, bytes);
  }

  /** More of the same portion, whose age stays; or a refusal is thrown. */
  grow(portion: Portion, bytes: number): void {
    if (!this.#budget.makeRoom(this, bytes, "request")) throw refusals.tooManyRequests();
    this.#budget.grow(portion, bytes);
  }

  shrink(portion: Portion, bytes: number): void {
    this.#budget.shrink(portion, bytes);
  }

  release(portion: Portion): void {
    this.#budget.release(portion);
  }

  /** `stream` is not read for a while: what HTTP/2 lets the client send on the connection meanwhile is held. */
  pause(stream: unknown): void {
    this.#paused.add(stream);
    this.#pausedPortion ??= this.add(CONNECTION_WINDOW_BYTES);
  }

  unpause(stream: unknown): void {
    if (!this.#paused.delete(stream) || this.#paused.size > 0) return;
    this.#pausedPortion?.release();
    this.#pausedPortion = undefined;
  }

  evict(): void {
    this.#evict();
    this.close();
  }

  /** Nothing is held for it any more. */
  close(): void {
    this.#budget.close(this);
  }

  announceRoom(): void {
    for (const action of this.onRoom) action();
  }
}

/** Of one request or answer. */
export class Portion {
  readonly account: Account;
  readonly sinceLook: number;
  bytes = 0;
  /** It is not the client's turn: a whole request. */
  isWorkedOn = false;

  constructor(account: Account, sinceLook: number) {
    this.account = account;
    this.sinceLook = sinceLook;
  }

  /** It was counted before it was made, with the most that it could be. */
  shrinkTo(bytes: number): void {
    this.account.shrink(this, this.bytes - bytes);
  }

  release(): void {
    this.account.release(this);
  }
}
