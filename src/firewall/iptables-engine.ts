// Traffic rules in chains of our own in iptables, through one of its two variants: on top of nftables, or legacy.
import { readFileSync } from "node:fs";
import { describeError, FlannelError } from "../errors.ts";
import type { Address, Family, Prefix } from "../ip/address.ts";
import { isMissingFile } from "../sys/files.ts";
import { holderName, lockHolder } from "../sys/lock-holder.ts";
import { rejected, runTool } from "../sys/run-tool.ts";
import { isAbsentEngine } from "./absent-engine.ts";
import { removedByHandle, restoreInput } from "./iptables-restore.ts";
import {
  type FoundTable,
  type IptablesFound,
  isCompleteListing,
  isEndedListing,
  joinTables,
  readIptablesTable,
} from "./iptables-save.ts";
import { type ChainPlace, chainPlaces, iptablesLines, toolName } from "./iptables-text.ts";
import { destroyNodeSet, nodeSetLines, readNodeSet, writeNodeSet } from "./node-set.ts";
import type { RuleEngine, RuleRuns } from "./rule-engine.ts";
import type { FamilyRules, RuleNames } from "./rule-set.ts";
import { deleteByHandle, readUnlistedTable } from "./unlisted-table.ts";
import { isAtLeast } from "./version.ts";

/** Paths of the programs of one variant. */
export interface IptablesTools {
  readonly variant: "nft" | "legacy";
  readonly version: readonly number[];
  readonly save: Readonly<Record<Family, string | undefined>>;
  readonly restore: Readonly<Record<Family, string | undefined>>;
  /** `iptables` itself. */
  readonly program: Readonly<Record<Family, string | undefined>>;
  /** Where it works; without it every node has a rule of its own. */
  readonly ipset: string | undefined;
}

/** Less than the time limit of programs: iptables then says itself what it waited for. */
const LOCK_WAIT_SECONDS = 5;
/** Nobody needs to know of less: kube-proxy holds the lock for a moment at each change. */
const SHORT_WAIT_MS = 1_000;

interface Found extends IptablesFound {
  /** Members of the set of nodes; missing: there is none, or none that a rule of ours uses. */
  readonly nodes?: readonly Address[];
}

export class IptablesEngine implements RuleEngine<Found> {
  readonly name: "iptables-nft" | "iptables-legacy";
  readonly randomFully: boolean;
  readonly canClampMss = true;
  readonly #tools: IptablesTools;
  readonly #names: RuleNames;
  readonly #network: (family: Family) => Prefix | undefined;
  readonly #runs: RuleRuns;
  /** Families for which we made a set of nodes. */
  readonly #madeSets = new Set<Family>();
  /** Families whose table mangle may hold something of ours: at first all, since an earlier run may have left it. */
  readonly #mayClamp = new Set<Family>([4, 6]);
  /** Since when a write has not got through. */
  #lockWait: number | undefined;

  /** `network`: of the configuration; direct rules of old versions about it are ours. `runs` stays the caller's. */
  constructor(tools: IptablesTools, names: RuleNames, network: (family: Family) => Prefix | undefined, runs: RuleRuns) {
    this.name = `iptables-${tools.variant}`;
    this.randomFully = isAtLeast(tools.version, [1, 6, 2]);
    this.#tools = tools;
    this.#names = names;
    this.#network = network;
    this.#runs = runs;
  }

  wantedLines(rules: FamilyRules | undefined): string[] {
    if (rules?.clamp !== undefined) this.#mayClamp.add(rules.family);
    const hasSet = this.#tools.ipset !== undefined;
    const set =
      hasSet && rules?.nodes !== undefined
        ? nodeSetLines(this.#names.nodeSet(rules.family), rules.family, rules.nodes)
        : [];
    return [...set, ...iptablesLines(rules, this.#names, hasSet)];
  }

  async read(family: Family): Promise<Found> {
    const present = this.#tables(family);
    const places = chainPlaces(this.#names).filter(({ table }) => present.includes(table));
    const reading = places.map(async (place) => [place.table, await this.#readTable(family, place)] as const);
    // The first table's error is reported, whichever comes first.
    const failed = (await Promise.allSettled(reading)).find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    const found = joinTables(new Map(await Promise.all(reading)), family, this.#names);
    const clamp = found.byTable.get("mangle");
    if (clamp !== undefined && !clamp.exists && clamp.jumps.length === 0) this.#mayClamp.delete(family);
    const setName = this.#names.nodeSet(family);
    const { ipset } = this.#tools;
    const isUsed = this.#madeSets.has(family) || found.lines.some((line) => line.includes(` ${setName} `));
    const nodes = ipset !== undefined && isUsed ? await readNodeSet(ipset, setName) : undefined;
    if (nodes === undefined) return found;
    return { ...found, nodes, lines: [...nodeSetLines(setName, family, nodes), ...found.lines] };
  }

  write(family: Family, rules: FamilyRules | undefined, found: Found): Promise<void> {
    return this.#runs.inTurn(() => this.#write(family, rules, found));
  }

  async #write(family: Family, rules: FamilyRules | undefined, found: Found): Promise<void> {
    const { ipset } = this.#tools;
    const setName = this.#names.nodeSet(family);
    // Rules can only be loaded while their set is there, and a set can only go once no rule uses it.
    if (ipset !== undefined && rules?.nodes !== undefined) {
      this.#madeSets.add(family);
      await writeNodeSet(ipset, setName, family, rules.nodes, found.nodes);
    }
    const stale = removedByHandle(rules, found, this.#names, family);
    await deleteByHandle(stale.before);
    await this.#restore(family, restoreInput(rules, found, this.#names, ipset !== undefined));
    await deleteByHandle(stale.after);
    if (ipset !== undefined && rules?.nodes === undefined && found.nodes !== undefined) {
      await destroyNodeSet(ipset, setName);
      this.#madeSets.delete(family);
    }
  }

  /** Throws unless all of it was read: what is not listed is not absent. */
  async #readTable(family: Family, place: ChainPlace): Promise<FoundTable> {
    const save = this.#tools.save[family];
    const network = this.#network(family);
    if (save === undefined) return readIptablesTable("", place, network);
    const args = ["-t", place.table];
    const isLegacy = this.#tools.variant === "legacy";
    const unlisted = { place, family, network, iptables: this.#tools.program[family], runs: this.#runs };
    const { stdout: text, ...end } = await this.#runs.list(save, args);
    if (end.exitCode !== 0) {
      const error = rejected(save, args, { stdout: text, ...end });
      if (isAbsentEngine(error)) throw error;
      // As with an extension that this iptables does not have, or rules of a newer one.
      if (!isLegacy) return await readUnlistedTable(unlisted, error.message);
      throw new FlannelError("FIREWALL_UNREADABLE", error.message, { retryable: true });
    }
    if (!isEndedListing(text) || (isLegacy && !text.includes(`*${place.table}\n`))) {
      const message = `${save} ${args.join(" ")} ended before the table did`;
      throw new FlannelError("FIREWALL_UNREADABLE", message, { retryable: true });
    }
    if (isCompleteListing(text)) return readIptablesTable(text, place, network);
    return await readUnlistedTable(unlisted);
  }

  async #restore(family: Family, input: string): Promise<void> {
    if (input === "") return;
    const restore = this.#tools.restore[family];
    if (restore === undefined) {
      throw new FlannelError("TOOL_MISSING", `this host has no ${toolName(family)}-restore: install iptables`);
    }
    // Before 1.6.2 iptables-restore knew no lock to wait for.
    const wait = isAtLeast(this.#tools.version, [1, 6, 2]) ? [`--wait=${LOCK_WAIT_SECONDS}`] : [];
    const startedMs = performance.now();
    this.#lockWait ??= startedMs;
    try {
      await runTool(restore, ["--noflush", ...wait], input);
      this.#lockWait = undefined;
    } catch (error) {
      const waitsFor = this.waitsFor();
      if (waitsFor === undefined) this.#lockWait = undefined;
      if (waitsFor === undefined || performance.now() - startedMs < LOCK_WAIT_SECONDS * 900) throw explained(error);
      throw new FlannelError("FIREWALL_REJECTED", waitsFor, { cause: error, tellsCause: true, retryable: true });
    }
  }

  /** Only legacy iptables has a lock. */
  waitsFor(): string | undefined {
    if (this.#tools.variant !== "legacy" || this.#lockWait === undefined) return undefined;
    if (performance.now() - this.#lockWait < SHORT_WAIT_MS) return undefined;
    const path = process.env["XTABLES_LOCKFILE"] ?? "/run/xtables.lock";
    const holder = lockHolder(path);
    return holder === undefined ? undefined : `iptables waits for ${path}, which ${holderName(holder)} holds`;
  }

  /** Looking at a table of legacy iptables makes it: only those that are there are looked at. */
  #tables(family: Family): readonly string[] {
    const ours = ["nat", "filter", ...(this.#mayClamp.has(family) ? ["mangle"] : [])];
    if (this.#tools.variant === "nft") return ours;
    const present = legacyTables(family);
    return ours.filter((table) => present.includes(table));
  }
}

/** Base chains of iptables' names that nft made with another type or priority cannot be used by iptables. */
function explained(error: unknown): unknown {
  const chain = /CHAIN_ADD failed .*chain (\w+)/.exec(describeError(error))?.[1];
  if (chain === undefined || !(error instanceof FlannelError)) return error;
  const message = `${error.message}: another program made chain ${chain} with nft, with another type or priority than that of iptables; set EnableNFTables to true in the network configuration, or remove that chain`;
  return new FlannelError(error.code, message, { cause: error, tellsCause: true, retryable: true });
}

export function hasLegacyTables(): boolean {
  return ([4, 6] as const).some((family) => legacyTables(family).length > 0);
}

/** Tables of legacy iptables that exist in this network namespace. Throws `FIREWALL_UNREADABLE` unless it is known. */
export function legacyTables(family: Family): string[] {
  const path = family === 4 ? "/proc/net/ip_tables_names" : "/proc/net/ip6_tables_names";
  try {
    return readFileSync(path, "utf8")
      .split("\n")
      .filter((name) => name !== "");
  } catch (cause) {
    // Without the module there are no tables.
    if (isMissingFile(cause)) return [];
    throw new FlannelError("FIREWALL_UNREADABLE", `cannot read ${path}`, { cause, retryable: true });
  }
}
