// Who may call: client certificates, users with passwords, tokens as etcd's simple ones. Every user may do everything.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Caller } from "../grpc/caller.ts";
import type { Ends } from "../grpc/grpc-call.ts";
import { grpcStatus, RpcError, refusals } from "../grpc/rpc-error.ts";

export interface AccessOptions {
  /** Clients must show a certificate that is signed by the client CA. */
  readonly needsCertificate: boolean;
  /** Missing: no passwords. */
  readonly users?: ReadonlyMap<string, string>;
  /** Paths that anybody may call. */
  readonly openPaths: ReadonlySet<string>;
  /** Paths that need no token: the way to get one. */
  readonly tokenlessPaths: ReadonlySet<string>;
}

/** etcd's. Counted from the last use. */
const TOKEN_LIFE_MS = 300_000;
const MAX_TOKENS = 10_000;
/** What a wrong password costs the one who tries many. */
const FAILURE_DELAY_MS = 300;

export class Access {
  readonly #options: AccessOptions;
  /** The least recently used one first. */
  readonly #tokens = new Map<string, Token>();

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /** Who calls; undefined for what anybody may call. Throws the refusal, worded as etcd does where it has one. */
  authorize(path: string, { headers, certificate }: Ends): Caller | undefined {
    const { needsCertificate, users, openPaths, tokenlessPaths } = this.#options;
    if (openPaths.has(path)) return undefined;
    if (needsCertificate && certificate === undefined) {
      const message = "flannel-store: this store requires a client certificate signed by its client CA";
      throw new RpcError(grpcStatus.unauthenticated, message);
    }
    const name = certificate === undefined ? undefined : String(certificate.subject.CN);
    if (users === undefined) return name === undefined ? { kind: "anybody" } : { kind: "user", name };
    if (tokenlessPaths.has(path)) return undefined;
    // As in etcd, the name in a verified certificate logs in by itself.
    if (name !== undefined && users.has(name)) return { kind: "user", name };
    const token = headers["token"] ?? headers["authorization"];
    if (token === undefined) throw refusals.userEmpty();
    return { kind: "user", name: this.#use(String(token)) };
  }

  /** A new token; undefined for a wrong name or password, after a while. Throws `authenticationNotEnabled`. */
  async authenticate(name: string, password: string): Promise<string | undefined> {
    const { users } = this.#options;
    if (users === undefined) throw refusals.authenticationNotEnabled();
    const known = users.get(name);
    if (known === undefined || !isSame(known, password)) {
      await delay(FAILURE_DELAY_MS);
      return undefined;
    }
    const [oldest] = this.#tokens.keys();
    if (this.#tokens.size >= MAX_TOKENS && oldest !== undefined) this.#tokens.delete(oldest);
    const token = randomBytes(24).toString("base64url");
    this.#tokens.set(token, { name, endMs: performance.now() + TOKEN_LIFE_MS });
    return token;
  }

  /** Whose token it is. Throws `invalidToken`. */
  #use(token: string): string {
    const known = this.#tokens.get(token);
    this.#tokens.delete(token);
    if (known === undefined || known.endMs < performance.now()) throw refusals.invalidToken();
    this.#tokens.set(token, { ...known, endMs: performance.now() + TOKEN_LIFE_MS });
    return known.name;
  }
}

interface Token {
  readonly name: string;
  /** On the monotonic clock. */
  readonly endMs: number;
}

/** Takes the same time whatever differs. */
function isSame(a: string, b: string): boolean {
  const [left, right] = [a, b].map((text) => createHash("sha256").update(text).digest());
  return left !== undefined && right !== undefined && timingSafeEqual(left, right);
}
