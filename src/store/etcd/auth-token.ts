// The token etcd gives for user and password: fetched once at a time, kept until the server rejects it.
import { abandonOnAbort } from "../../async/cancellation.ts";

/** Permission denied within this time of a fresh token is about the role, not about the token. */
const SURELY_FRESH_MS = 5_000;

export class AuthToken {
  readonly #authenticate: (() => Promise<string | undefined>) | undefined;
  /** The server's last answer, until it is rejected. */
  #known: { readonly token: string | undefined; readonly sinceMs: number } | undefined;
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
    if (this.#authenticate === undefined || this.#known !== undefined) return this.#known?.token;
    // Checking a password costs the server 60 ms and more: callers share one answer.
    this.#pending ??= this.#fetch(this.#authenticate).finally(() => {
      this.#pending = undefined;
    });
    return await abandonOnAbort(this.#pending, "log in to etcd", signal);
  }

  /** Whether fetching a new token could help against a "permission denied". */
  get mayHaveExpired(): boolean {
    return this.#known !== undefined && performance.now() - this.#known.sinceMs > SURELY_FRESH_MS;
  }

  /** The server rejected `token`. False when there is no user to log in with. */
  reject(token: string | undefined): boolean {
    if (this.#known?.token === token) this.#known = undefined;
    return this.#authenticate !== undefined;
  }

  async #fetch(authenticate: () => Promise<string | undefined>): Promise<string | undefined> {
    const token = await authenticate();
    this.#known = { token, sinceMs: performance.now() };
    return token;
  }
}
