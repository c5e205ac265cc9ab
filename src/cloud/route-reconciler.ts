// Keeps the route tables of a cloud leading to this host: looks at them every few minutes and when asked, puts right what
// differs, and says what it cannot. The same look serves the start, a drift and a recovery.
import { BackOff } from "../async/back-off.ts";
import { type PassEnd, ReconcileLoop } from "../async/reconcile-loop.ts";
import { describeError, isCancelled } from "../errors.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { CloudFacts, CloudRoutes } from "./cloud-routes.ts";
import type { RouteWish } from "./plan-routes.ts";
import { reconcileTable, type TableState } from "./reconcile-table.ts";

export interface RouteReconcilerOptions {
  readonly cloud: CloudRoutes;
  readonly logger: Logger;
  /** To be called when `problem` may have changed. */
  readonly onChange: () => void;
  /** Between looks while all is right; default five minutes. Hosts spread over the last tenth of it. */
  readonly intervalMs?: number;
}

/** What became of a look; `unlisted`: the provider accepted a route and does not list it yet. */
export type LookResult = "done" | "unlisted" | "failed";

const INTERVAL_MS = 300_000;
const UNLISTED_RETRY_MS = 2_000;
const FIRST_RETRY_MS = 1_000;
/** A permission that was given, a quota that was raised: within this time the agent has seen it. */
const LONGEST_RETRY_MS = 60_000;
/** What stays wrong is said again, not with each look. */
const SAY_AGAIN_MS = 1_800_000;

export class RouteReconciler implements AsyncDisposable {
  readonly #options: RouteReconcilerOptions;
  readonly #abort = new AbortController();
  readonly #retry = new BackOff({ firstMs: FIRST_RETRY_MS, maxMs: LONGEST_RETRY_MS });
  #wish: RouteWish | undefined;
  readonly #loop = new ReconcileLoop({ pass: () => this.#turn(), debounceMs: 0, signal: this.#abort.signal });
  #facts: CloudFacts | undefined;
  #tables: ReadonlyMap<string, TableState> = new Map();
  /** Why packets for this host's subnet may not arrive; undefined when the last look found everything in place. */
  #problem: string | undefined = "the cloud's route tables are being read";
  /** What failed at the last look, though packets arrive for all that is known. */
  #trouble: string | undefined;
  #said = { text: "", atMs: 0 };
  readonly #looks = { done: 0, unlisted: 0, failed: 0 };
  #repairs = 0;

  constructor(options: RouteReconcilerOptions) {
    this.#options = options;
  }

  /** A wish that means something else is served at once. */
  setWish(wish: RouteWish): void {
    const previous = this.#wish;
    this.#wish = wish;
    if (previous?.subnet === wish.subnet && previous.network === wish.network) return;
    if (previous !== undefined) {
      this.#tables = new Map(); // of another subnet
      this.#setProblem(`the cloud's route tables do not lead ${wish.subnet} to this host yet`);
    }
    this.lookNow();
  }

  lookNow(): void {
    this.#retry.reset();
    if (this.#wish !== undefined) this.#loop.queuePass();
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  get trouble(): string | undefined {
    return this.#trouble;
  }

  get facts(): CloudFacts | undefined {
    return this.#facts;
  }

  get tables(): readonly TableState[] {
    return [...this.#tables.values()];
  }

  /** Looks since the start, by what became of them. */
  get looks(): Readonly<Record<LookResult, number>> {
    return this.#looks;
  }

  /** Routes that were right, were changed by others, and were put right. */
  get repairs(): number {
    return this.#repairs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#loop[Symbol.asyncDispose]();
    await this.#options.cloud[Symbol.asyncDispose]();
  }

  /** Never rejects. */
  async #turn(): Promise<PassEnd<void>> {
    if (this.#loop.isStopped) return { result: undefined };
    const result = await this.#look(this.#abort.signal);
    return { result: undefined, repeatInMs: result === undefined ? 0 : this.#delayAfter(result) };
  }

  #delayAfter(result: LookResult): number {
    if (result === "unlisted") return UNLISTED_RETRY_MS;
    if (result === "failed") return this.#retry.nextMs();
    this.#retry.reset();
    const { intervalMs = INTERVAL_MS } = this.#options;
    return intervalMs * (0.9 + Math.random() / 10);
  }

  /** Never rejects. Undefined: cancelled. */
  async #look(signal: AbortSignal): Promise<LookResult | undefined> {
    const wish = this.#wish;
    if (wish === undefined) return undefined;
    try {
      const facts = await this.#readFacts(signal);
      const tables = await this.#reconcileTables(facts, wish, signal);
      // What was found for an earlier wish says nothing of this one.
      if (this.#wish?.subnet === wish.subnet) this.#conclude(facts, tables);
    } catch (error) {
      if (signal.aborted || isCancelled(error)) return undefined;
      this.#trouble = describeError(error);
      if (this.#tables.size === 0) this.#setProblem(this.#trouble);
    }
    const result = this.#result();
    this.#looks[result]++;
    this.#say(result);
    return result;
  }

  async #readFacts(signal: AbortSignal): Promise<CloudFacts> {
    const { cloud, logger } = this.#options;
    const facts = await cloud.facts(signal);
    if (facts.instance !== this.#facts?.instance || facts.target !== this.#facts.target) {
      const told = { instance: facts.instance, nextHop: facts.target, tables: facts.tables.join(" ") };
      logger.info("cloud.identified", "the cloud provider knows this host", told);
    }
    this.#facts = facts;
    return facts;
  }

  /** One after the other: providers count requests. */
  async #reconcileTables(
    facts: CloudFacts,
    wish: RouteWish,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, TableState>> {
    const { cloud, logger } = this.#options;
    const tables = new Map<string, TableState>();
    for (const table of facts.tables) {
      const before = this.#tables.get(table);
      const state = await reconcileTable({ cloud, logger, target: facts.target, wish, before, table }, signal);
      if (state.wasRepaired) this.#repairs++;
      tables.set(table, state);
    }
    return tables;
  }

  #conclude({ obstacle }: CloudFacts, tables: ReadonlyMap<string, TableState>): void {
    this.#tables = tables;
    const states = [...tables.values()];
    this.#trouble = states.find(({ trouble }) => trouble !== undefined)?.trouble;
    const problems = [obstacle, ...states.map(({ problem }) => problem)].filter((problem) => problem !== undefined);
    this.#setProblem(problems.length === 0 ? undefined : problems.slice(0, 3).join("; "));
  }

  #result(): LookResult {
    if (this.#trouble !== undefined) return "failed";
    if (this.#problem === undefined) return "done";
    const isWaiting = this.tables.some(({ isAccepted }) => isAccepted);
    const isRest =
      this.#facts?.obstacle === undefined && this.tables.every((table) => table.isInPlace || table.isAccepted);
    return isWaiting && isRest ? "unlisted" : "failed";
  }

  #setProblem(problem: string | undefined): void {
    const hasChanged = problem !== this.#problem;
    this.#problem = problem;
    if (hasChanged) this.#options.onChange();
  }

  /** A failure when it begins, when it becomes another one, and now and then while it stays. */
  #say(result: LookResult): void {
    const { logger } = this.#options;
    if (result === "unlisted") return;
    const text = this.#trouble ?? this.#problem ?? "";
    if (text === "") {
      if (this.#said.text !== "")
        logger.info("cloud.failed.recovered", "the cloud's route tables are as they should be again");
      this.#said = { text: "", atMs: 0 };
      return;
    }
    const now = performance.now();
    if (text === this.#said.text && now - this.#said.atMs < SAY_AGAIN_MS) return;
    this.#said = { text, atMs: now };
    logger.warn("cloud.failed", "the cloud's route tables are not as they should be; trying again", { error: text });
  }
}
