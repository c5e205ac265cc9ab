// The port behind which nftables and both kinds of iptables look alike.
import type { Family } from "../ip/address.ts";
import type { ToolResult } from "../sys/run-tool.ts";
import type { FamilyRules } from "./rule-set.ts";

export type EngineName = "nftables" | "iptables-nft" | "iptables-legacy";

/** What is ours in the kernel, of one family. */
export interface FoundRules {
  /** As commands that would make it, in the form in which `wantedLines` writes the same thing. */
  readonly lines: readonly string[];
  /** iptables only: the FORWARD chain drops what nobody accepts. */
  readonly dropsForwarded: boolean;
}

/** How engines run programs; see `RuleHost`. */
export interface RuleRuns {
  list(path: string, args: readonly string[]): Promise<ToolResult>;
  inTurn<T>(task: () => Promise<T>): Promise<T>;
}

export interface RuleEngine<Found extends FoundRules = FoundRules> {
  readonly name: EngineName;
  /** Whether masquerading with fully random ports can be had. */
  readonly randomFully: boolean;
  /** Whether the MSS of TCP can be limited to what routes say. */
  readonly canClampMss: boolean;
  /** Exactly what `read` finds once `rules` are in place. Undefined rules: nothing of ours. */
  wantedLines(rules: FamilyRules | undefined): readonly string[];
  /** Throws a FlannelError when the tool fails. */
  read(family: Family): Promise<Found>;
  /** Why a write under way, or the last one, waits for another program; a clause. Undefined when it does not. */
  waitsFor?(): string | undefined;
  /**
   * Makes what was found into what is wanted, in one transaction: no packet sees a state in between. Throws a
   * `FIREWALL_REJECTED` when the tool refuses, and then nothing has changed.
   */
  write(family: Family, rules: FamilyRules | undefined, found: Found): Promise<void>;
}
