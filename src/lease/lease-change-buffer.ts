// Between the watch, which must not lose anything, and a reader who may be slow: what is not read yet is merged, so
// that a burst of 10,000 events arrives as few changes and memory stays bounded.
import type { LeaseChange, LeaseEvent, Revision, UnreadableLease } from "./lease.ts";

type Snapshot = Extract<LeaseChange, { type: "snapshot" }>;
type Sign = Extract<LeaseChange, { type: "contact" | "disconnected" }>;

/** Pending keys beyond which the watch waits for the reader; etcd then holds back by itself. */
const MAX_PENDING_KEYS = 20_000;

/** One writer, one reader. */
export class LeaseChangeBuffer {
  #snapshot: Snapshot | undefined;
  readonly #events = new Map<string, LeaseEvent>();
  readonly #unreadable = new Map<string, UnreadableLease>();
  /** Of the last events. */
  #revision: Revision | undefined;
  #sign: Sign | undefined;
  #onChange: () => void = () => undefined;
  #onRoom: () => void = () => undefined;

  /** Replaces everything pending: it tells the whole truth. */
  pushSnapshot(snapshot: Snapshot): void {
    this.#events.clear();
    this.#unreadable.clear();
    const isOtherStore = this.#snapshot?.isOtherStore === true || snapshot.isOtherStore === true;
    this.#snapshot = { ...snapshot, ...(isOtherStore && { isOtherStore }) };
    this.#sign = undefined;
    this.#onChange();
  }

  /** Of several events about a key only the last one counts; an unreadable one leaves what was there before. */
  pushEvents(items: readonly { event?: LeaseEvent; unreadable?: UnreadableLease }[], revision: Revision): void {
    for (const { event, unreadable } of items) {
      if (unreadable !== undefined) this.#unreadable.set(unreadable.key, unreadable);
      if (event === undefined) continue;
      const key = event.type === "put" ? event.lease.key : event.key;
      this.#unreadable.delete(key);
      // Deleted first, so that the map stays in the order of revisions.
      this.#events.delete(key);
      this.#events.set(key, event);
    }
    this.#revision = revision;
    this.#sign = undefined;
    this.#onChange();
  }

  /** The latest sign of life or of its absence replaces an unread earlier one. */
  pushSign(sign: Sign): void {
    this.#sign = sign;
    this.#onChange();
  }

  /** Resolves when there is room for more events, or at once when `signal` aborts. */
  async waitForRoom(signal: AbortSignal): Promise<void> {
    while (this.#pendingKeys() >= MAX_PENDING_KEYS && !signal.aborted) {
      await this.#waitFor(signal, (wake) => {
        this.#onRoom = wake;
      });
    }
  }

  /** What is pending, oldest kind first: snapshot, changes, sign. Undefined when `signal` aborts. */
  async take(signal: AbortSignal): Promise<LeaseChange | undefined> {
    while (!signal.aborted) {
      const change = this.#takePending();
      if (change !== undefined) {
        this.#onRoom();
        return change;
      }
      await this.#waitFor(signal, (wake) => {
        this.#onChange = wake;
      });
    }
    return undefined;
  }

  #takePending(): LeaseChange | undefined {
    const snapshot = this.#snapshot;
    this.#snapshot = undefined;
    if (snapshot !== undefined) return snapshot;
    if (this.#pendingKeys() > 0 && this.#revision !== undefined) {
      const changes = [...this.#events.values()];
      const unreadable = [...this.#unreadable.values()];
      this.#events.clear();
      this.#unreadable.clear();
      return { type: "changes", changes, unreadable, revision: this.#revision };
    }
    const sign = this.#sign;
    this.#sign = undefined;
    return sign;
  }

  #pendingKeys(): number {
    return this.#events.size + this.#unreadable.size;
  }

  async #waitFor(signal: AbortSignal, register: (wake: () => void) => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    register(resolve);
    const onAbort = () => resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    await promise;
    signal.removeEventListener("abort", onAbort);
  }
}
