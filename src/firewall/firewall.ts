// Keeps the traffic rules as they are wanted: writes differences in one transaction each, notices what others change,
// removes what an earlier mode left. The only one who runs nft and iptables to change something.
import { setTimeout as delay } from "node:timers/promises";
import { pauseAfterMs } from "../async/growing-pause.ts";
import { type PassEnd, ReconcileLoop } from "../async/reconcile-loop.ts";
import { asFlannelError, describeError, FlannelError } from "../errors.ts";
import { type Family, familyOf, type Prefix } from "../ip/address.ts";
import type { NfTablesGeneration, NfTablesTouch } from "../netlink/nftables/nf-tables.ts";
import { removeLeftTraceTables } from "../netlink/nftables/nf-trace-socket.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { MetricsRecorder } from "../telemetry/metrics/metrics.ts";
import { findEngines } from "./find-engines.ts";
import type { FirewallStatus } from "./firewall-status.ts";
import type { ScanContext } from "./hook-packets.ts";
import { HookScanner } from "./hook-scanner.ts";
import type { PacketDrop } from "./packet-drop.ts";
import type { RuleInputs } from "./plan-rules.ts";
import { RuleHost } from "./rule-host.ts";
import { type RuleListing, RulePass } from "./rule-pass.ts";
import { type RuleNames, ruleNames } from "./rule-set.ts";
import type { RuleSlot, SlotName } from "./rule-slot.ts";

export interface FirewallOptions {
  /** EnableNFTables */
  readonly preferNftables: boolean;
  /** See `ruleNames`. */
  readonly suffix: string;
  /** Of the configuration: direct rules of old versions about them are ours. */
  readonly networks: readonly Prefix[];
  /** How often is looked for what the kernel does not announce; 0: never. */
  readonly resyncMs: number;
  /** Of all networks of this host; stays the caller's. Missing: one of its own. */
  readonly host?: RuleHost;
  readonly logger: Logger;
  readonly metrics?: MetricsRecorder;
  readonly signal: AbortSignal;
  /** After each pass that changed or failed something; must not throw. */
  readonly onChange?: () => void;
}

/**
 * Gathers what belongs together: one start of Docker makes many transactions. Also the limit of repairs: ten a second,
 * however often another program changes the rules, and none that waits longer.
 */
const DEBOUNCE_MS = 100;
/** For a pass under way: usually tens of milliseconds. */
const LISTING_WAITS_MS = 1_000;
const MAX_ROUNDS = 3;
const RETRY = { firstMs: 1_000, maxMs: 60_000 } as const;

interface Commit {
  readonly generation: NfTablesGeneration;
  readonly touched: ReadonlySet<SlotName>;
}

export class Firewall implements AsyncDisposable {
  readonly #options: FirewallOptions;
  readonly #names: RuleNames;
  /** Undefined while the tools are looked for. */
  #pass: RulePass | FlannelError | undefined;
  readonly #host: RuleHost;
  /** Missing: the kernel tells nothing. */
  #following: Disposable | undefined;
  #inputs: RuleInputs | undefined;
  /** All commits up to this one are known to have left everything as wanted. */
  #coveredGeneration: number | undefined;
  readonly #hooks: HookScanner;
  /** Of the last scan that went well. */
  #drops: readonly PacketDrop[] = [];
  #authors = new Set<string>();
  /** Never rejects. */
  readonly #started: Promise<void>;
  /** Commits that come while it looks and writes are judged afterwards, when it is known which were ours. */
  readonly #loop: ReconcileLoop<void, Commit>;
  /** How often no tool was found, or none that answered, and when to look again. */
  readonly #search = { failures: 0, nextMs: 0 };
  /** Another program undid all that the last pass wrote. */
  #isContested = false;

  /**
   * Looks for the tools at once and changes nothing before the first `setDesired`. A host without any tool is a matter
   * of `status`: they are looked for again with growing pauses, since they may be installed, or a busy host may have kept them from answering.
   */
  constructor(options: FirewallOptions) {
    this.#options = options;
    this.#host = options.host ?? new RuleHost();
    this.#names = ruleNames(options.suffix);
    this.#hooks = new HookScanner(this.#names);
    this.#started = this.#start();
    this.#loop = new ReconcileLoop({
      pass: (settle) => this.#runPass(settle),
      onEvent: (commit) => this.#onCommit(commit),
      debounceMs: DEBOUNCE_MS,
      after: this.#started,
      signal: options.signal,
    });
  }

  /**
   * Resolves when these rules, or newer ones, were written or have failed, or when it is over; never rejects. Failures
   * are in `status` and are tried again.
   */
  setDesired(inputs: RuleInputs): Promise<void> {
    if (this.#loop.isStopped) return Promise.resolve();
    this.#inputs = inputs;
    return this.#loop.passNow();
  }

  status(): FirewallStatus {
    if (this.#pass instanceof RulePass) return this.#pass.status();
    const nothing = {
      mode: "none",
      warnings: [],
      unreadable: [],
      waitsFor: undefined,
      failures: [],
      repairs: { total: 0, last: [] },
    } as const;
    if (this.#pass === undefined) return { ...nothing, reason: "the agent is looking for nft and iptables" };
    const error = this.#pass.message;
    // Without a tool nobody else drops anything either: only masquerading is really missing.
    const failures =
      this.#inputs?.masquerade === true
        ? [{ object: "traffic rules", error, attempts: this.#search.failures, scope: "own" } as const]
        : [];
    return { ...nothing, reason: error, warnings: [error], failures };
  }

  /** Looks at everything again, and changes nothing. Throws what a tool says, or that there is none. */
  async listing(): Promise<RuleListing> {
    await this.#started;
    // Not in turn with the passes: a write may wait for what the listing is to explain.
    const late = new AbortController();
    const waited = delay(LISTING_WAITS_MS, undefined, { signal: late.signal }).catch(() => undefined);
    await Promise.race([this.#loop.settled(), waited]);
    late.abort();
    if (this.#pass instanceof RulePass) return await this.#pass.list();
    throw this.#pass ?? closedError();
  }

  /**
   * Rules and policies of others that drop flannel's traffic, in whatever hook. Never rejects: what cannot be read is as it was when
   * it was read last. Asked often, and costs nothing as long as nothing can have changed.
   */
  async packetDrops(context: ScanContext): Promise<readonly PacketDrop[]> {
    // Rules of ours that let packets pass may be on their way.
    await this.#loop.settled();
    if (this.#loop.isStopped) return [];
    try {
      this.#drops = await this.#hooks.drops(context);
    } catch (error) {
      const reason = describeError(error);
      this.#options.logger.verbose(1, "preflight.drops-unknown", `cannot read the chains of other programs: ${reason}`);
    }
    return this.#drops;
  }

  /** Waits for the pass under way; the rules stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loop[Symbol.asyncDispose]();
    this.#following?.[Symbol.dispose]();
    if (this.#options.host === undefined) this.#host[Symbol.dispose]();
  }

  async #start(): Promise<void> {
    const { logger, metrics, preferNftables, networks } = this.#options;
    try {
      const byFamily = (family: Family) => networks.find((network) => familyOf(network) === family);
      const engines = await findEngines({ host: this.#host, preferNftables, names: this.#names, network: byFamily });
      const { primary, reason, warning, unreadable } = engines;
      const problem = primary.name === "nftables" ? undefined : await this.#host.bridgeProblem();
      const left = unreadable === undefined ? undefined : `cannot look for old rules in nftables: ${unreadable}`;
      const warnings = [warning, left, problem].filter((entry) => entry !== undefined);
      this.#pass = new RulePass(engines, warnings, logger, metrics);
      logger.info("firewall.mode", `using ${primary.name} for traffic rules: ${reason}`);
      for (const message of warnings) logger.warn("firewall.odd", message);
    } catch (error) {
      const known = this.#pass instanceof FlannelError ? this.#pass.message : undefined;
      this.#pass = asFlannelError(error);
      this.#search.failures++;
      this.#search.nextMs = performance.now() + pauseAfterMs(this.#search.failures, RETRY);
      if (this.#pass.message !== known) logger.warn("firewall.missing", this.#pass.message);
      return;
    }
    removeTraces(logger);
    if (!this.#loop.isStopped) this.#startWatching();
  }

  #startWatching(): void {
    try {
      this.#following = this.#host.notices.follow<SlotName>({
        logger: this.#options.logger,
        interestIn: (touch, notice) => {
          this.#hooks.touch(touch, notice);
          return this.#interestIn(touch);
        },
        onCommit: (generation, touched) => {
          this.#options.metrics?.count("flannel_kernel_notifications_total", { source: "nftables" });
          this.#loop.receive({ generation, touched });
        },
        onOverflow: () => {
          this.#options.metrics?.count("flannel_kernel_overflows_total", { source: "nftables" });
          this.#hooks.touchAll();
          this.#lookSoon(() => true);
        },
      });
      this.#hooks.isWatched = true;
    } catch (error) {
      const message = "cannot watch the rules of this kernel: checking them at each resync instead";
      this.#options.logger.warn("firewall.unwatched", message, { error: describeError(error) });
    }
    this.#loop.startAudits(this.#options.resyncMs, () => this.#resync());
  }

  #interestIn({ kind, family, table, name }: NfTablesTouch): SlotName | undefined {
    if (family === undefined) return undefined;
    if (table === this.#names.table(family)) return `nftables ${family}`;
    const { masqueradeChain, forwardChain, clampChain } = this.#names;
    const byTable = new Map([
      ["nat", ["POSTROUTING", masqueradeChain]],
      ["filter", ["FORWARD", forwardChain]],
    ]);
    if (this.#inputs?.clampsMss === true) byTable.set("mangle", ["FORWARD", clampChain]);
    const chains = byTable.get(table);
    if (chains === undefined || kind === "set") return undefined;
    return name === undefined || chains.includes(name) ? `iptables-nft ${family}` : undefined;
  }

  #onCommit({ generation, touched }: Commit): void {
    const covered = this.#coveredGeneration;
    if (covered === undefined) return;
    if (touched.size === 0) {
      if ((covered + 1) >>> 0 === generation.id) this.#coveredGeneration = generation.id;
      return;
    }
    // Judged by slot: a pass asks for the generation and reads only the slots that are marked. A commit to another slot may be
    // older than that generation although nobody has told of it yet.
    const isMeant = (slot: RuleSlot) => touched.has(slot.name) && !slot.hasRead(generation.id);
    const { program, pid } = generation;
    if (this.#lookSoon(isMeant) && program !== "") this.#authors.add(`${program} (pid ${pid})`);
  }

  /** Undefined: not known, so everything is read. */
  #generation(): number | undefined {
    if (this.#following === undefined) return undefined;
    try {
      return this.#host.notices.generation();
    } catch {
      return undefined;
    }
  }

  /** Cheap while nothing happens: one question to the kernel. Legacy tables, which it knows nothing of, are read. */
  #resync(): void {
    const pass = this.#pass;
    if (!(pass instanceof RulePass)) return;
    const generation = this.#generation();
    const isUnknown = generation === undefined || generation !== this.#coveredGeneration;
    this.#lookSoon((slot) => pass.isPrimary(slot) && (isUnknown || slot.engine.name === "iptables-legacy"));
  }

  /** False when no slot is meant. */
  #lookSoon(isMeant: (slot: RuleSlot) => boolean): boolean {
    if (this.#loop.isStopped || !(this.#pass instanceof RulePass) || !this.#pass.mark(isMeant)) return false;
    this.#loop.passSoon();
    return true;
  }

  /** Never rejects. `settle` is called as soon as the rules are where they belong. */
  async #runPass(settle: () => void): Promise<PassEnd<void>> {
    const isSearchDue = !(this.#pass instanceof RulePass) && performance.now() >= this.#search.nextMs;
    if (isSearchDue && !this.#loop.isStopped) await this.#start();
    const [pass, inputs] = [this.#pass, this.#inputs];
    if (!(pass instanceof RulePass)) {
      if (isSearchDue) this.#options.onChange?.();
      return { result: undefined, repeatInMs: Math.max(0, this.#search.nextMs - performance.now()) };
    }
    if (inputs === undefined) return { result: undefined };
    pass.setInputs(inputs);
    if (await this.#loop.holdBackDuring(() => this.#runRounds(pass, settle))) this.#options.onChange?.();
    return { result: undefined, repeatInMs: this.#retryInMs(pass.attempts) };
  }

  /** Returns whether anything was written or failed. */
  async #runRounds(pass: RulePass, onPrimary: () => void): Promise<boolean> {
    const authors = [...this.#authors];
    this.#authors.clear();
    let hasChanged = false;
    this.#isContested = false;
    for (let round = 1; round <= MAX_ROUNDS && !this.#loop.isStopped; round++) {
      const generation = this.#generation();
      const outcome = await pass.round(authors, onPrimary, generation);
      hasChanged ||= outcome !== "settled";
      if (outcome === "settled") this.#coveredGeneration = generation;
      if (outcome !== "written") break;
      if (round < MAX_ROUNDS) continue;
      this.#isContested = true;
      pass.giveUpForNow();
    }
    return hasChanged;
  }

  #retryInMs(attempts: number): number | undefined {
    if (attempts === 0) return undefined;
    // A longer rest would be a gain for who undoes our rules, and an outage for the traffic that they let pass.
    return this.#isContested ? RETRY.firstMs : pauseAfterMs(attempts, RETRY);
  }
}

function closedError(): FlannelError {
  return new FlannelError("CANCELLED", "the firewall is closed");
}

/** Of a `flannelctl trace` that was killed: they cost a little for each packet, and nothing else. */
function removeTraces(logger: Logger): void {
  try {
    removeLeftTraceTables();
  } catch (error) {
    logger.warn("firewall.odd", `cannot look for tables left by flannelctl trace: ${describeError(error)}`);
  }
}
