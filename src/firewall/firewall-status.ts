// What the firewall reconciler says about itself.
import type { RepairRecord } from "../async/repair-log.ts";
import type { EngineName } from "./rule-engine.ts";

export interface RuleFailure {
  readonly object: string;
  readonly error: string;
  readonly attempts: number;
  /** `own`: rules are missing. `leftover`: those of an earlier mode cannot be removed. */
  readonly scope: "own" | "leftover";
}

export interface FirewallStatus {
  /** Where the rules are kept; `none`: this host has no tool for them. */
  readonly mode: EngineName | "none";
  /** Why there; a clause. */
  readonly reason: string;
  /** What is odd about it. */
  readonly warnings: readonly string[];
  /** Places of rules that cannot be read completely and are therefore left alone, in words. */
  readonly unreadable: readonly string[];
  /** What holds up the writing of rules now; a clause. */
  readonly waitsFor: string | undefined;
  readonly failures: readonly RuleFailure[];
  readonly repairs: { readonly total: number; readonly last: readonly RepairRecord[] };
}
