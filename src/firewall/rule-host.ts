// What the firewalls of all networks of a host share: the tools that it has, what they list, turns for those that write, and the
// kernel's notifications. An agent with fifty networks else starts the same programs fifty times.
import { setTimeout as delay } from "node:timers/promises";
import { NfTablesMonitor } from "../netlink/nftables/nf-tables-monitor.ts";
import { type ToolResult, tryTool } from "../sys/run-tool.ts";
import { bridgeNetfilterProblem } from "./bridge-netfilter.ts";
import { findRuleTools, type RuleTools } from "./find-tools.ts";
import type { RuleRuns } from "./rule-engine.ts";

/** Covers the start of all networks; what an operator installs or loads is known to who starts after that. */
const FRESH_MS = 10_000;
/** Transactions exclude each other in the kernel; one that hangs does not hold up all others. */
const WRITERS = 4;

interface Listing {
  readonly running: Promise<unknown>;
  next?: Promise<ToolResult>;
}

export class RuleHost implements RuleRuns, Disposable {
  readonly notices = new NfTablesMonitor();
  readonly #known = new Map<string, Promise<unknown>>();
  readonly #listings = new Map<string, Listing>();
  readonly #waiting: (() => void)[] = [];
  #writers = 0;

  /** Looked for some seconds ago at most. */
  tools(preferNftables: boolean): Promise<RuleTools> {
    return this.#fresh(`tools ${preferNftables}`, () => findRuleTools(preferNftables));
  }

  /** See `bridgeNetfilterProblem`. */
  bridgeProblem(): Promise<string | undefined> {
    return this.#fresh("bridge", bridgeNetfilterProblem);
  }

  /**
   * Runs a program that changes nothing, as `tryTool`. One run serves all who ask before it starts; it never began before the
   * question, so that the answer is never older.
   */
  list(path: string, args: readonly string[]): Promise<ToolResult> {
    const key = [path, ...args].join(" ");
    const listing = this.#listings.get(key);
    if (listing === undefined) return this.#start(key, tryTool(path, args));
    listing.next ??= listing.running.then(() => this.#start(key, tryTool(path, args)));
    return listing.next;
  }

  /** Runs what writes rules; a few at a time. */
  async inTurn<T>(task: () => Promise<T>): Promise<T> {
    if (this.#writers >= WRITERS) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      await promise;
    } else this.#writers++;
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#writers--;
      else next();
    }
  }

  /** Ends the notifications. */
  [Symbol.dispose](): void {
    this.notices[Symbol.dispose]();
  }

  #start(key: string, result: Promise<ToolResult>): Promise<ToolResult> {
    const running = result.then(
      () => this.#ended(key, listing),
      () => this.#ended(key, listing),
    );
    const listing: Listing = { running };
    this.#listings.set(key, listing);
    return result;
  }

  #ended(key: string, listing: Listing): void {
    if (listing.next === undefined && this.#listings.get(key) === listing) this.#listings.delete(key);
  }

  #fresh<T>(key: string, look: () => Promise<T>): Promise<T> {
    const known = this.#known.get(key);
    // Each key stands for one kind of answer.
    if (known !== undefined) return known as Promise<T>;
    const found = look();
    this.#known.set(key, found);
    const forget = () => this.#known.delete(key);
    found.then(() => delay(FRESH_MS, undefined, { ref: false })).then(forget, forget);
    return found;
  }
}
