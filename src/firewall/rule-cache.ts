// What was read of the rules of nf_tables and is still so, by what the kernel tells of each change. Pure.
import type { Expression } from "../netlink/nftables/expressions.ts";
import type { NfTablesTouch } from "../netlink/nftables/nf-tables.ts";
import type { RuleNotice } from "../netlink/nftables/nf-tables-monitor.ts";
import { type HookChain, type LoadedChain, mayAct, protocolOf } from "./hook-chain.ts";

/** Kept rules in all, some 5 MB; more are read again by the next scan. */
const MAX_KEPT_RULES = 5_000;

export function objectKey(kind: "rule" | "set", family: number, table: string, name: string): string {
  return `${kind} ${family} ${table} ${name}`;
}

/** Single rules that come and go are looked at one by one; a chain that is rewritten is read again. */
const MAX_SINGLE_CHANGES = 100;

interface Kept {
  chain: LoadedChain;
  readonly isWanted: (soFar: readonly Expression[]) => boolean;
}

export class RuleCache {
  readonly #chains = new Map<string, Kept>();
  /** Keys of the chains that were read out of an object of the kernel. */
  readonly #readers = new Map<string, Set<string>>();
  /** Rises when what a chain was read from changes. */
  readonly #versions = new Map<string, number>();
  #used = new Set<string>();
  #rules = 0;
  /** Since the last scan. */
  #singleChanges = 0;
  baseChains: readonly HookChain[] | undefined;

  find(key: string): LoadedChain | undefined {
    this.#used.add(key);
    return this.#chains.get(key)?.chain;
  }

  /** Before the object is read: a change that comes while it is read is not missed. Returns the version for `keep`. */
  follow(key: string, object: string): number {
    const readers = this.#readers.get(object) ?? new Set();
    this.#readers.set(object, readers.add(key));
    return this.#versions.get(key) ?? 0;
  }

  /** `isWanted`: which rules it was read for (see `decodeRule`). */
  keep(key: string, chain: LoadedChain, version: number, isWanted: Kept["isWanted"]): void {
    if (version !== (this.#versions.get(key) ?? 0) || this.#rules + chain.rules.length > MAX_KEPT_RULES) return;
    this.#rules += chain.rules.length;
    this.#chains.set(key, { chain, isWanted });
  }

  /** True when something that was read has changed. `notice`: the message about a rule. */
  touch(touch: NfTablesTouch, notice?: RuleNotice): boolean {
    const { kind, protocol, table, name = "", isBaseChain = false } = touch;
    if (kind === "table" || kind === "chain") {
      if (!isBaseChain && kind === "chain" && !this.#isBaseChain(protocol, table, name)) return false;
      this.baseChains = undefined;
      return true;
    }
    const readers = this.#readers.get(objectKey(kind, protocol, table, name));
    if (readers === undefined) return false;
    let hasChanged = false;
    for (const key of readers) {
      if (kind === "rule" && notice !== undefined && this.#isOfNoUse(key, touch.isRemoval, notice)) continue;
      this.#forget(key);
      this.#versions.set(key, (this.#versions.get(key) ?? 0) + 1);
      hasChanged = true;
    }
    return hasChanged;
  }

  /** The rule that came or went is none that is kept. */
  #isOfNoUse(key: string, isRemoval: boolean, notice: RuleNotice): boolean {
    const kept = this.#chains.get(key);
    if (kept === undefined || ++this.#singleChanges > MAX_SINGLE_CHANGES) return false;
    if (!isRemoval) {
      const rule = notice.rule(kept.isWanted);
      return rule === undefined || !mayAct(rule);
    }
    const handle = notice.handle();
    return kept.chain.rules.every((rule) => rule.handle !== handle);
  }

  /** Nothing is known any more. */
  clear(): void {
    for (const key of this.#chains.keys()) this.#forget(key);
    for (const [key, version] of this.#versions) this.#versions.set(key, version + 1);
    this.baseChains = undefined;
  }

  /** After a scan: what it did not come by is of no more use. */
  endScan(): void {
    for (const [object, readers] of this.#readers) {
      for (const key of readers) if (!this.#used.has(key)) readers.delete(key);
      if (readers.size === 0) this.#readers.delete(object);
    }
    for (const key of this.#chains.keys()) if (!this.#used.has(key)) this.#forget(key);
    for (const key of this.#versions.keys()) if (!this.#used.has(key)) this.#versions.delete(key);
    this.#used = new Set();
    this.#singleChanges = 0;
  }

  #forget(key: string): void {
    this.#rules -= this.#chains.get(key)?.chain.rules.length ?? 0;
    this.#chains.delete(key);
  }

  #isBaseChain(protocol: number, table: string, name: string): boolean {
    return (
      this.baseChains?.some(
        (chain) => chain.name === name && chain.table === table && protocolOf(chain.family) === protocol,
      ) ?? true
    );
  }
}
