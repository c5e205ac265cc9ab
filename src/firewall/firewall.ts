// Keeps the traffic rules as they are wanted: writes differences in one transaction each, notices what others change,
// removes what an earlier mode left. The only one who runs nft and iptables.
import { describeError, FlannelError } from "../errors.ts";
import type { Family, Prefix } from "../ip/address.ts";
import type { NfTablesGeneration, NfTablesTouch } from "../netlink/nf-tables.ts";
import { NfTablesMonitor } from "../netlink/nf-tables-monitor.ts";
import type { Logger } from "../telemetry/logger.ts";
import { type FoundEngines, findEngines } from "./find-engines.ts";
import { type FirewallStatus, RuleRepairLog } from "./firewall-status.ts";
import { planRules, type RuleInputs } from "./plan-rules.ts";
import { type FamilyRules, type RuleNames, ruleNames } from "./rule-set.ts";
import { RuleSlot, type SlotName, type Wanted } from "./rule-slot.ts";

export interface FirewallOptions {
  /** EnableNFTables */
  readonly preferNftables: boolean;
  /** See `ruleNames`. */
  readonly suffix: string;
  readonly networks: readonly Prefix[];
  /** How often is looked for what the kernel does not announce; 0: never. */
  readonly resyncMs: number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** After each pass that changed or failed something; must not throw. */
  readonly onChange?: () => void;
}

/** What a person asks for with `flannelctl rules`. */
export interface RuleListing {
  readonly wanted: readonly string[];
  readonly found: readonly string[];
  /** `+ ` missing, `- ` too much, `~ ` in the wrong order. */
  readonly difference: readonly string[];
}

/** Gathers what belongs together: one start of Docker makes many transactions. */
const DEBOUNCE_MS = 100;
const FIGHT_DEBOUNCE_MS = 2_000;
const MAX_ROUNDS = 3;
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;
const families = [4, 6] as const;

export class Firewall implements AsyncDisposable {
  readonly #options: FirewallOptions;
  readonly #names: RuleNames;
  readonly #engines: FoundEngines | FlannelError;
  /** The primary engine's first: what is new comes before what is old goes. */
  readonly #slots: readonly RuleSlot[];
  readonly #repairs: RuleRepairLog;
  #monitor: NfTablesMonitor<SlotName> | undefined;
  #wanted: ReadonlyMap<Family, FamilyRules> | undefined;
  #waiters: (() => void)[] = [];
  /** All commits up to this one are known to have left everything as wanted. */
  #coveredGeneration: number | undefined;
  #authors = new Set<string>();
  #heldBack: (() => void)[] | undefined;
  #lane: Promise<void> = Promise.resolve();
  #isQueued = false;
  #isClosed = false;
  #lookTimer: NodeJS.Timeout | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #resyncTimer: NodeJS.Timeout | undefined;

  private constructor(options: FirewallOptions, names: RuleNames, engines: FoundEngines | FlannelError) {
    this.#options = options;
    this.#names = names;
    this.#engines = engines;
    this.#repairs = new RuleRepairLog(options.logger);
    const all = engines instanceof FlannelError ? [] : [engines.primary, ...engines.others];
    this.#slots = all.flatMap((engine) => families.map((family) => new RuleSlot(engine, family)));
  }

  /** Changes nothing before the first `setDesired`. A host without any tool is a matter of `status`, not an error. */
  static async open(options: FirewallOptions): Promise<Firewall> {
    const names = ruleNames(options.suffix);
    const [ipv4, ipv6] = families.map((family) =>
      options.networks.find((network) => network.includes(":") === (family === 6)),
    );
    const networks = { ...(ipv4 && { 4: ipv4 }), ...(ipv6 && { 6: ipv6 }) };
    const engines = await findEngines({ preferNftables: options.preferNftables, names, networks }).catch(asMissingTool);
    const firewall = new Firewall(options, names, engines);
    firewall.#startWatching();
    firewall.#sayMode();
    return firewall;
  }

  /** Resolves when a pass with these, or newer ones, is done; failures are in `status` and are tried again. */
  setDesired(inputs: RuleInputs): Promise<void> {
    if (this.#isStopped) return Promise.reject(closedError());
    const canRandomFully = !(this.#engines instanceof FlannelError) && this.#engines.primary.randomFully;
    const rules = planRules(inputs, canRandomFully);
    this.#wanted = new Map(rules.map((entry) => [entry.family, entry]));
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiters.push(resolve);
    this.#queuePass();
    return promise;
  }

  status(): FirewallStatus {
    const { repairs } = this.#repairs;
    const failures = this.#slots.flatMap(({ name, error, attempts }) =>
      error === undefined ? [] : [{ object: `traffic rules (${slotText(name)})`, error: error.message, attempts }],
    );
    if (this.#engines instanceof FlannelError) {
      const { message } = this.#engines;
      const isNeeded = [...(this.#wanted?.values() ?? [])].some((rules) => rules.masquerade !== undefined);
      // Without a tool nobody else drops anything either: only masquerading is really missing.
      const missing = isNeeded ? [{ object: "traffic rules", error: message, attempts: 1 }] : [];
      return { mode: "none", reason: message, warning: message, failures: missing, repairs, acceptedIn: [] };
    }
    const { primary, reason, warning } = this.#engines;
    return {
      mode: primary.name,
      reason,
      ...(warning !== undefined && { warning }),
      failures,
      repairs,
      acceptedIn: this.#slots
        .filter(
          (slot) =>
            slot.isSettled(this.#wantedIn(slot)) && slot.foundLines.some((line) => line.includes(" -I FORWARD 1 ")),
        )
        .map(({ engine, family }) => ({ engine: engine.name, family })),
    };
  }

  /** Looks at everything anew, and changes nothing. Throws what a tool says. */
  listing(): Promise<RuleListing> {
    const { promise, resolve, reject } = Promise.withResolvers<RuleListing>();
    this.#lane = this.#lane.then(() => this.#list().then(resolve, reject));
    return promise;
  }

  /** Waits for the pass under way; the rules stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const timer of [this.#lookTimer, this.#retryTimer, this.#resyncTimer]) clearTimeout(timer);
    await this.#monitor?.[Symbol.asyncDispose]();
    await this.#lane;
  }

  get #isStopped(): boolean {
    return this.#isClosed || this.#options.signal.aborted;
  }

  async #list(): Promise<RuleListing> {
    const listing = { wanted: [] as string[], found: [] as string[], difference: [] as string[] };
    for (const slot of this.#slots) {
      const wanted = this.#wantedIn(slot);
      listing.difference.push(...(await slot.look(wanted)));
      listing.wanted.push(...slot.wantedLines(wanted));
      listing.found.push(...slot.foundLines);
      slot.needsLook ||= !slot.isSettled(wanted);
    }
    if (listing.difference.length > 0) this.#queuePass();
    return listing;
  }

  #sayMode(): void {
    const { logger } = this.#options;
    if (this.#engines instanceof FlannelError) {
      logger.warn("firewall.missing", this.#engines.message);
      return;
    }
    const { primary, reason, warning } = this.#engines;
    if (warning === undefined) logger.info("firewall.mode", `traffic rules go into ${primary.name}: ${reason}`);
    else logger.warn("firewall.mode", warning);
  }

  #startWatching(): void {
    if (this.#slots.length === 0) return;
    try {
      this.#monitor = NfTablesMonitor.open({
        interestIn: (touch) => this.#interestIn(touch),
        onCommit: (generation, touched) => this.#onCommit(generation, touched),
        onOverflow: () => this.#lookSoon(() => true),
      });
    } catch (error) {
      const message = "cannot watch the rule set of this kernel: looking at the resync period instead";
      this.#options.logger.warn("firewall.unwatched", message, { error: describeError(error) });
    }
    if (this.#options.resyncMs <= 0) return;
    this.#resyncTimer = setInterval(() => this.#resync(), this.#options.resyncMs);
    this.#resyncTimer.unref();
  }

  #interestIn({ kind, family, table, chain }: NfTablesTouch): SlotName | undefined {
    if (family === undefined) return undefined;
    const { masqueradeChain, forwardChain } = this.#names;
    if (table === this.#names.table(family)) return `nftables ${family}`;
    const chains =
      table === "nat" ? ["POSTROUTING", masqueradeChain] : table === "filter" ? ["FORWARD", forwardChain] : undefined;
    if (chains === undefined || kind === "set") return undefined;
    return chain === undefined || chains.includes(chain) ? `iptables-nft ${family}` : undefined;
  }

  #onCommit(generation: NfTablesGeneration, touched: ReadonlySet<SlotName>): void {
    if (this.#heldBack !== undefined) {
      this.#heldBack.push(() => this.#onCommit(generation, touched));
      return;
    }
    const covered = this.#coveredGeneration;
    if (covered === undefined || isNotAfter(generation.id, covered)) return;
    if (touched.size === 0) {
      if ((covered + 1) >>> 0 === generation.id) this.#coveredGeneration = generation.id;
      return;
    }
    const { program, pid } = generation;
    if (program !== "") this.#authors.add(`${program} (pid ${pid})`);
    this.#lookSoon((slot) => touched.has(slot.name));
  }

  /** Cheap while nothing happens: one question to the kernel; legacy tables, which it knows nothing of, are read. */
  #resync(): void {
    const generation = this.#monitor?.generation();
    const isUnknown = generation === undefined || generation !== this.#coveredGeneration;
    const primary = this.#slots[0]?.engine;
    this.#lookSoon(({ engine }) =>
      engine.name === "iptables-legacy"
        ? engine === primary
        : isUnknown && (engine === primary || generation !== undefined),
    );
  }

  #lookSoon(isMeant: (slot: RuleSlot) => boolean): void {
    if (this.#isStopped || this.#wanted === undefined) return;
    const slots = this.#slots.filter(isMeant);
    if (slots.length === 0) return;
    for (const slot of slots) slot.needsLook = true;
    this.#lookTimer ??= setTimeout(
      () => {
        this.#lookTimer = undefined;
        this.#queuePass();
      },
      this.#repairs.isFight ? FIGHT_DEBOUNCE_MS : DEBOUNCE_MS,
    );
  }

  #queuePass(): void {
    if (this.#isQueued || this.#isStopped || this.#wanted === undefined) return;
    this.#isQueued = true;
    this.#lane = this.#lane.then(() => this.#runPass());
  }

  /** Never rejects: it is the lane. */
  async #runPass(): Promise<void> {
    this.#isQueued = false;
    const waiters = this.#waiters;
    this.#waiters = [];
    const authors = [...this.#authors];
    this.#authors.clear();
    this.#heldBack = [];
    let hasChanged = false;
    try {
      for (let round = 1; round <= MAX_ROUNDS; round++) {
        const generation = this.#monitor?.generation();
        const outcome = await this.#round(authors);
        hasChanged ||= outcome !== "settled";
        if (outcome === "settled") this.#coveredGeneration = generation;
        if (outcome !== "written") break;
        if (round === MAX_ROUNDS) this.#giveUpForNow();
      }
    } finally {
      const heldBack = this.#heldBack ?? [];
      this.#heldBack = undefined;
      for (const replay of heldBack) replay();
    }
    this.#armRetryTimer();
    for (const resolve of waiters) resolve();
    if (hasChanged) this.#options.onChange?.();
  }

  /** Goes over all slots that may not be as wanted. The others are removed only once the primary's are in place. */
  async #round(authors: readonly string[]): Promise<"settled" | "written" | "failed"> {
    const difference: string[] = [];
    let outcome: "settled" | "written" | "failed" = "settled";
    const primary = this.#slots[0]?.engine;
    for (const slot of this.#slots) {
      const wanted = this.#wantedIn(slot);
      if (this.#isStopped || slot.isSettled(wanted)) continue;
      if (slot.engine !== primary && outcome === "failed") break;
      try {
        const change = await slot.bring(wanted);
        if (change === undefined) this.#onSettled(slot);
        else outcome = "written";
        if (change?.isRepair === true) difference.push(...change.difference);
      } catch (error) {
        if (this.#onFailed(slot, asFlannelError(error), slot.isWanted(wanted))) outcome = "failed";
      }
    }
    if (difference.length > 0) this.#repairs.record(difference, authors);
    return outcome;
  }

  #onSettled(slot: RuleSlot): void {
    if (slot.error !== undefined)
      this.#options.logger.info("firewall.recovered", `${slotText(slot.name)}: the rules are in place`);
    slot.error = undefined;
    slot.attempts = 0;
  }

  /** Returns whether it matters: where nothing is wanted, a tool that does not work has left nothing either. */
  #onFailed(slot: RuleSlot, error: FlannelError, isWanted: boolean): boolean {
    const { logger } = this.#options;
    slot.needsLook = isWanted;
    if (
      !isWanted ||
      (slot.engine !== this.#slots[0]?.engine && slot.error === undefined && slot.foundLines.length === 0)
    ) {
      logger.verbose(1, "firewall.unused", `${slotText(slot.name)} cannot be looked at: ${error.message}`);
      slot.needsLook = false;
      return false;
    }
    slot.attempts++;
    if (slot.error?.message !== error.message) {
      logger.error("firewall.failed", `traffic rules could not be written; trying on: ${error.message}`, {
        where: slot.name,
      });
    }
    slot.error = error;
    return true;
  }

  #giveUpForNow(): void {
    for (const slot of this.#slots.filter((entry) => entry.needsLook)) {
      const message = "the rules are not there after they were written: another program changes them all the time";
      this.#onFailed(slot, new FlannelError("firewall.rejected", message, { retryable: true }), true);
    }
  }

  #armRetryTimer(): void {
    clearTimeout(this.#retryTimer);
    const attempts = Math.max(
      0,
      ...this.#slots.filter(({ error }) => error !== undefined).map((slot) => slot.attempts),
    );
    if (attempts === 0 || this.#isStopped) return;
    const delayMs = Math.min(FIRST_RETRY_MS * 2 ** (attempts - 1), LAST_RETRY_MS);
    this.#retryTimer = setTimeout(() => this.#queuePass(), delayMs);
    this.#retryTimer.unref();
  }

  /** In nftables mode an accept of ours does not outweigh a DROP policy of iptables in the same hook: it is kept there too. */
  #wantedIn({ engine, family }: RuleSlot): Wanted {
    const rules = this.#wanted?.get(family);
    const primary = this.#slots[0]?.engine;
    if (engine === primary) return () => rules;
    if (rules?.forward === undefined || primary?.name !== "nftables" || engine.name !== "iptables-nft")
      return () => undefined;
    const { network, forward } = rules;
    return (found) => (found.dropsForwarded ? { family, network, forward } : undefined);
  }
}

function slotText(name: SlotName): string {
  return `${name.slice(0, -2)}, IPv${name.at(-1)}`;
}

/** In the kernel's counting, which wraps. */
function isNotAfter(id: number, covered: number): boolean {
  return ((id - covered) | 0) <= 0;
}

function asMissingTool(error: unknown): FlannelError {
  if (error instanceof FlannelError) return error;
  throw error;
}

function asFlannelError(error: unknown): FlannelError {
  return error instanceof FlannelError ? error : new FlannelError("internal", describeError(error), { cause: error });
}

function closedError(): FlannelError {
  return new FlannelError("cancelled", "the firewall is closed");
}
