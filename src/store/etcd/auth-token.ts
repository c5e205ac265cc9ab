// The token etcd gives for user and password: fetched once at a time, kept until the server rejects it.
import { abandonOnAbort } from "../../async/cancellation.ts";

/** Permission denied within this time of a fresh token is about the role, not about the token. */
const SURELY_FRESH_MS = 5_000;

export class AuthToken {
  readonly #authenticate: (() => Promise<string | undefined>) | undefined;
  #token: string | undefined;
  #isKnown = false;
  #knownSinceMs = 0;
  #pending: Promise<string | undefined> | undefined;

  /**
   * @param authenticate asks the server, without any token; resolves with undefined when authentication is not enabled
   *   there. Missing when there is no user.
   */
  constructor(authenticate: (() => Promise<string | undefined>) | undefined) {
    this.#authenticate = authenticate;
  }

  /** Undefined when none is needed. Rejects like `authenticate`. */
  async get(signal: AbortSignal): Promise<string | undefined> {
    if (this.#authenticate === undefined || this.#isKnown) return this.#token;
    // Checking a password costs the server 60 ms and more: callers share one answer.
    this.#pending ??= this.#fetch(this.#authenticate).finally(() => {
      this.#pending = undefined;
    });
    return await abandonOnAbort(this.#pending, "log in to etcd", signal);
  }

  /** Whether fetching a new token could help against a "permission denied". */
  get mayHaveExpired(): boolean {
    return this.#isKnown && performance.now() - this.#knownSinceMs > SURELY_FRESH_MS;
  }

  /** The server rejected `token`. False when there is no user to log in with. */
  reject(token: string | undefined): boolean {
    if (this.#token === token) {
      this.#token = undefined;
      this.#isKnown = false;
    }
    return this.#authenticate !== undefined;
  }

  async #fetch(authenticate: () => Promise<string | undefined>): Promise<string | undefined> {
    this.#token = await authenticate();
    this.#isKnown = true;
    this.#knownSinceMs = performance.now();
    return this.#token;
  }
}
