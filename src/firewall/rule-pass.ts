// One pass over all places where rules of ours are or may be left: what is new comes first, then what is old goes.
import { RepairLog } from "../async/repair-log.ts";
import { asFlannelError, describeError, FlannelError, hasCode } from "../errors.ts";
import type { Family } from "../ip/address.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { MetricsRecorder } from "../telemetry/metrics/metrics.ts";
import { isAbsentEngine } from "./absent-engine.ts";
import type { FoundEngines } from "./find-engines.ts";
import type { FirewallStatus } from "./firewall-status.ts";
import { planRules, type RuleInputs } from "./plan-rules.ts";
import { ruleRepairLines, ruleRepairs } from "./rule-repairs.ts";
import type { FamilyRules } from "./rule-set.ts";
import { RuleSlot, type SlotName, type Wanted } from "./rule-slot.ts";

/** What a person asks for with `flannelctl rules`. */
export interface RuleListing {
  readonly wanted: readonly string[];
  readonly found: readonly string[];
  /** `+ ` missing, `- ` too much, `~ ` in the wrong order. */
  readonly difference: readonly string[];
}

/** `settled`: all is known to be as wanted. `written`: to be looked at once more. */
export type RoundOutcome = "settled" | "written" | "failed";

export class RulePass {
  readonly repairs: RepairLog;
  readonly #engines: FoundEngines;
  readonly #warnings: readonly string[];
  readonly #logger: Logger;
  readonly #slots: readonly RuleSlot[];
  #wanted: ReadonlyMap<Family, FamilyRules> = new Map();

  /** `warnings`: what is odd about this host; for the status. */
  constructor(engines: FoundEngines, warnings: readonly string[], logger: Logger, metrics?: MetricsRecorder) {
    this.repairs = new RepairLog(ruleRepairLines(logger), metrics);
    this.#engines = engines;
    this.#warnings = warnings;
    this.#logger = logger;
    const all = [engines.primary, ...engines.others];
    this.#slots = all.flatMap((engine) => ([4, 6] as const).map((family) => new RuleSlot(engine, family)));
  }

  setInputs(inputs: RuleInputs): void {
    const rules = planRules(inputs, this.#engines.primary.randomFully, this.#engines.primary.canClampMss);
    this.#wanted = new Map(rules.map((entry) => [entry.family, entry]));
  }

  /** Marks those to be looked at in the next round; false when none is meant. */
  mark(isMeant: (slot: RuleSlot) => boolean): boolean {
    const slots = this.#slots.filter(isMeant);
    for (const slot of slots) slot.needsLook = true;
    return slots.length > 0;
  }

  isPrimary({ engine }: RuleSlot): boolean {
    return engine === this.#engines.primary;
  }

  /**
   * Never rejects. `onPrimary` is called once the rules are where they belong, before what is old is removed;
   * `generation` is the rule set's, asked for before.
   */
  async round(authors: readonly string[], onPrimary: () => void, generation?: number): Promise<RoundOutcome> {
    const repaired: string[] = [];
    const isNew = (slot: RuleSlot) => this.isPrimary(slot) && this.#wanted.has(slot.family);
    const outcomes = [await this.#bringAll(isNew, repaired, generation)];
    onPrimary();
    if (!outcomes.includes("failed")) outcomes.push(await this.#bringAll((slot) => !isNew(slot), repaired, generation));
    this.repairs.record(ruleRepairs(repaired), performance.now(), authors);
    return (["failed", "written"] as const).find((outcome) => outcomes.includes(outcome)) ?? "settled";
  }

  /** After as many rounds as make sense. */
  giveUpForNow(): void {
    const message = "contended: another program removes or changes the rules after each write";
    for (const slot of this.#slots.filter(({ needsLook }) => needsLook)) {
      this.#onFailed(slot, new FlannelError("FIREWALL_REJECTED", message, { retryable: true }));
    }
  }

  /** How often in a row the most stubborn place failed; 0: all is well. */
  get attempts(): number {
    return Math.max(0, ...this.#slots.map(({ error, attempts }) => (error === undefined ? 0 : attempts)));
  }

  /** Looks at everything again, and changes nothing. Throws what a tool says. */
  async list(): Promise<RuleListing> {
    const listing = { wanted: [] as string[], found: [] as string[], difference: [] as string[] };
    for (const { engine, family } of this.#slots) {
      // Slots of its own: a pass may be under way.
      const slot = new RuleSlot(engine, family);
      const wanted = this.#wantedIn(slot);
      listing.difference.push(...(await slot.look(wanted)));
      listing.wanted.push(...slot.wantedLines(wanted));
      listing.found.push(...slot.foundLines);
    }
    return listing;
  }

  status(): FirewallStatus {
    const { primary, reason } = this.#engines;
    return {
      mode: primary.name,
      reason,
      warnings: [...this.#warnings, ...this.#slots.map(({ unread }) => unread).filter((text) => text !== undefined)],
      unreadable: this.#unreadable(),
      waitsFor: this.#waitsFor(),
      failures: this.#slots.flatMap((slot) => {
        const { name, error, attempts } = slot;
        const scope = this.isPrimary(slot) ? "own" : "leftover";
        const object = `traffic rules in ${slotText(name)}`;
        return error === undefined ? [] : [{ object, error: error.message, attempts, scope } as const];
      }),
      repairs: { total: this.repairs.total, last: this.repairs.last },
    };
  }

  async #bringAll(
    isMeant: (slot: RuleSlot) => boolean,
    repaired: string[],
    generation: number | undefined,
  ): Promise<RoundOutcome> {
    let outcome: RoundOutcome = "settled";
    for (const slot of this.#slots.filter(isMeant)) {
      const wanted = this.#wantedIn(slot);
      if (slot.isSettled(wanted)) continue;
      try {
        const change = await slot.bring(wanted, generation);
        if (change === undefined) this.#onSettled(slot);
        else if (outcome === "settled") outcome = "written";
        if (change?.isRepair === true) repaired.push(...change.difference);
      } catch (error) {
        if (this.#isUnused(slot, wanted)) this.#onUnused(slot, error);
        else {
          outcome = "failed";
          this.#onFailed(slot, asFlannelError(error));
        }
      }
    }
    return outcome;
  }

  /** Where nothing is wanted or was ever seen. */
  #isUnused(slot: RuleSlot, wanted: Wanted): boolean {
    return (!this.isPrimary(slot) || !slot.isWanted(wanted)) && slot.foundLines.length === 0;
  }

  /** An engine that this host does not have has left nothing; what may be left in another one, nobody knows. */
  #onUnused(slot: RuleSlot, error: unknown): void {
    slot.needsLook = false;
    const message = `cannot look for old rules in ${slotText(slot.name)}: ${describeError(error)}`;
    if (isAbsentEngine(error)) this.#logger.verbose(1, "firewall.unused", message);
    else if (slot.unread !== message) this.#logger.warn("firewall.unread", message);
    slot.unread = isAbsentEngine(error) ? undefined : message;
  }

  #waitsFor(): string | undefined {
    const engines = new Set(this.#slots.map(({ engine }) => engine));
    return [...engines].map((engine) => engine.waitsFor?.()).find((text) => text !== undefined);
  }

  /** Of the rules that are ours to keep. */
  #unreadable(): string[] {
    return this.#slots
      .map(({ error }) => (hasCode(error, "FIREWALL_UNREADABLE") ? error.message : undefined))
      .filter((text) => text !== undefined);
  }

  #onSettled(slot: RuleSlot): void {
    if (slot.error !== undefined)
      this.#logger.info("firewall.recovered", `the traffic rules in ${slotText(slot.name)} are in place`);
    slot.error = undefined;
    slot.unread = undefined;
    slot.attempts = 0;
  }

  #onFailed(slot: RuleSlot, error: FlannelError): void {
    slot.needsLook = true;
    slot.attempts++;
    if (slot.error?.message !== error.message) {
      const message = `cannot write traffic rules in ${slotText(slot.name)}; retrying: ${error.message}`;
      this.#logger.error("firewall.failed", message);
    }
    slot.error = error;
  }

  /** An accept of ours in nftables does not outweigh a DROP policy of iptables in the same hook: it is kept there too. */
  #wantedIn(slot: RuleSlot): Wanted {
    const rules = this.#wanted.get(slot.family);
    if (this.isPrimary(slot)) return () => rules;
    const isBeside = this.#engines.primary.name === "nftables" && slot.engine.name === "iptables-nft";
    if (!isBeside || rules?.forward === undefined) return () => undefined;
    const { family, network, forward } = rules;
    return (found) => (found.dropsForwarded ? { family, network, forward } : undefined);
  }
}

function slotText(name: SlotName): string {
  return `${name.slice(0, -2)}, IPv${name.at(-1)}`;
}
