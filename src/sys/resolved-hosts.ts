// The IP addresses of hosts that are connected to: those that are written as addresses, and what names resolve to, as
// connections look them up (getaddrinfo). Looked up again while they are asked for.
import { lookup } from "node:dns/promises";
import { setTimeout } from "node:timers/promises";
import { type Address, tryParseAddress } from "../ip/address.ts";

/** Answers that rotate (a name with many addresses) are gathered. */
const MAX_ADDRESSES_PER_NAME = 64;
const FIRST_ATTEMPT_MS = 2_000;
const REFRESH_MS = 60_000;
/** After a look-up that failed. */
const RETRY_MS = 5_000;

/** Every address of a name; rejects when it cannot be resolved. */
export type ResolveName = (name: string) => Promise<readonly string[]>;

async function resolveWithSystem(name: string): Promise<readonly string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}

export class ResolvedHosts {
  /** The first attempt is over, whether it succeeded or not, or it takes too long. Never rejects. */
  readonly ready: Promise<void>;
  readonly #fixed: readonly Address[];
  readonly #names: readonly string[];
  readonly #resolve: ResolveName;
  /** By name, the newest last. A name that cannot be resolved now keeps what it had. */
  readonly #resolved = new Map<string, readonly Address[]>();
  #nextAtMs = 0;
  #isResolving = false;

  /** `hosts`: addresses without brackets, or names. */
  constructor(hosts: Iterable<string>, resolve: ResolveName = resolveWithSystem) {
    const all = [...new Set(hosts)];
    this.#fixed = all.flatMap((host) => tryParseAddress(host) ?? []);
    this.#names = all.filter((host) => tryParseAddress(host) === undefined);
    this.#resolve = resolve;
    const isLate = setTimeout(FIRST_ATTEMPT_MS, undefined, { ref: false });
    this.ready = Promise.race([this.#resolveAll(), isLate]);
  }

  current(): readonly Address[] {
    const isDue = this.#names.length > 0 && !this.#isResolving && performance.now() >= this.#nextAtMs;
    if (isDue) this.#resolveAll().catch(() => undefined);
    return [...new Set([...this.#fixed, ...[...this.#resolved.values()].flat()])];
  }

  /** Never rejects. */
  async #resolveAll(): Promise<void> {
    this.#isResolving = true;
    const results = await Promise.all(this.#names.map((name) => this.#resolveOne(name)));
    this.#nextAtMs = performance.now() + (results.every((isKnown) => isKnown) ? REFRESH_MS : RETRY_MS);
    this.#isResolving = false;
  }

  async #resolveOne(name: string): Promise<boolean> {
    try {
      const found = (await this.#resolve(name)).flatMap((text) => tryParseAddress(text) ?? []);
      const earlier = (this.#resolved.get(name) ?? []).filter((address) => !found.includes(address));
      this.#resolved.set(name, [...earlier, ...found].slice(-MAX_ADDRESSES_PER_NAME));
      return true;
    } catch {
      return false;
    }
  }
}
