// How many watches there may be: of one caller, and of all. When all are taken, the caller with the most gives way to one
// with fewer.
import type { Account, MemoryBudget } from "../grpc/memory-budget.ts";

/** Of one store, on all its connections. */
const MAX_WATCHES = 20_000;
const MAX_BYTES = 16 * 1024 * 1024;
/** Of one caller: a host has two. */
const MAX_WATCHES_OF_CALLER = 4_000;
const MAX_BYTES_OF_CALLER = 2 * 1024 * 1024;
/** What a watch costs besides its keys. */
const WATCH_BYTES = 400;

/** What one caller has. */
interface Holder {
  /** With the number of watches on each connection. */
  readonly accounts: Map<Account, number>;
  watches: number;
  bytes: number;
}

export class WatchQuota {
  /** By caller, or by connection where nothing else is known. */
  readonly #holders = new Map<unknown, Holder>();
  readonly #budget: MemoryBudget;
  #watches = 0;
  #bytes = 0;

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  /** Counts one watch with keys of `keyBytes`; undefined when it must be refused. Dispose of it when it ends. */
  admit(caller: unknown, account: Account, keyBytes: number): Disposable | undefined {
    const bytes = WATCH_BYTES + keyBytes;
    const holder = this.#holders.get(caller) ?? { accounts: new Map(), watches: 0, bytes: 0 };
    const isOver = holder.watches >= MAX_WATCHES_OF_CALLER || holder.bytes + bytes > MAX_BYTES_OF_CALLER;
    if (isOver || !this.#makeRoom(holder, bytes)) return undefined;
    this.#holders.set(caller, holder);
    this.#count(holder, account, 1, bytes);
    return {
      [Symbol.dispose]: () => {
        this.#count(holder, account, -1, -bytes);
        if (holder.watches === 0) this.#holders.delete(caller);
      },
    };
  }

  #makeRoom(holder: Holder, bytes: number): boolean {
    if (this.#watches < MAX_WATCHES && this.#bytes + bytes <= MAX_BYTES) return true;
    const largest = [...this.#holders.values()].reduce((most, one) => (one.bytes > most.bytes ? one : most), holder);
    if (largest.bytes <= holder.bytes + bytes) return false;
    // The watches end with the connections, in a moment: until then there is one too many.
    for (const account of largest.accounts.keys()) account.evict();
    return true;
  }

  #count(holder: Holder, account: Account, watches: number, bytes: number): void {
    const onAccount = (holder.accounts.get(account) ?? 0) + watches;
    if (onAccount === 0) holder.accounts.delete(account);
    else holder.accounts.set(account, onAccount);
    holder.watches += watches;
    holder.bytes += bytes;
    this.#watches += watches;
    this.#bytes += bytes;
    this.#budget.countLasting(bytes);
  }
}
