// A key that ends: read when it is first needed, and again some time before it ends. Requests share one reading, and one that
// fails leaves the key that is at hand, for as long as that lasts.
import { abandonOnAbort, cancelled } from "../async/cancellation.ts";
import { FlannelError } from "../errors.ts";

export interface EndingKey {
  /** By the wall clock; missing: it does not end. */
  readonly endsAtMs?: number;
}

/** Providers hand out the next one some minutes before the end. */
const BEFORE_END_MS = 300_000;
/** Within that time, between two readings; a key that ended is read at once. */
const PAUSE_MS = 10_000;
const LONGEST_READING_MS = 20_000;
const READING = "read the key for the cloud's API";

export class RenewedKey<Key extends EndingKey> implements Disposable {
  readonly #read: (signal: AbortSignal) => Promise<Key>;
  readonly #now: () => number;
  readonly #longestReadingMs: number;
  readonly #abort = new AbortController();
  #key: Key | undefined;
  #reading: Promise<Key> | undefined;
  #askedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    read: (signal: AbortSignal) => Promise<Key>,
    now: () => number = Date.now,
    longestReadingMs: number = LONGEST_READING_MS,
  ) {
    this.#read = read;
    this.#now = now;
    this.#longestReadingMs = longestReadingMs;
  }

  /** Rejects as `read` does when there is no key in force, and with `CANCELLED` by the signal. */
  async current(signal: AbortSignal): Promise<Key> {
    const known = this.#key;
    if (known !== undefined && !this.#isDue(known)) return known;
    if (signal.aborted) throw cancelled(READING);
    try {
      return await abandonOnAbort(this.#readAgain(), READING, signal);
    } catch (error) {
      if (signal.aborted || known === undefined || known !== this.#key || this.#hasEnded(known)) throw error;
      return known;
    }
  }

  /** The provider does not accept it: the next request reads it again. */
  reject(): void {
    this.#key = undefined;
  }

  /** What is being read is given up. */
  [Symbol.dispose](): void {
    this.#abort.abort();
  }

  #hasEnded({ endsAtMs }: Key): boolean {
    return endsAtMs !== undefined && this.#now() >= endsAtMs;
  }

  #isDue(key: Key): boolean {
    if (key.endsAtMs === undefined || this.#now() < key.endsAtMs - BEFORE_END_MS) return false;
    return this.#hasEnded(key) || this.#reading !== undefined || Math.abs(this.#now() - this.#askedAtMs) >= PAUSE_MS;
  }

  #readAgain(): Promise<Key> {
    this.#reading ??= this.#readOnce().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readOnce(): Promise<Key> {
    this.#askedAtMs = this.#now();
    const timeout = AbortSignal.timeout(this.#longestReadingMs);
    const signal = AbortSignal.any([this.#abort.signal, timeout]);
    try {
      // Also of a library that takes no signal.
      this.#key = await abandonOnAbort(this.#read(signal), READING, signal);
      return this.#key;
    } catch (error) {
      if (!timeout.aborted || this.#abort.signal.aborted) throw error;
      const message = `cannot ${READING}: no answer within ${this.#longestReadingMs / 1_000} s; retrying`;
      throw new FlannelError("CLOUD_UNAVAILABLE", message, { cause: timeout.reason, retryable: true });
    }
  }
}
