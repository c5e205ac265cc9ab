// The rules of one family in one engine: what is there, what was left there, what could not be written.
import { FlannelError } from "../errors.ts";
import type { Family } from "../ip/address.ts";
import type { EngineName, FoundRules, RuleEngine } from "./rule-engine.ts";
import type { FamilyRules } from "./rule-set.ts";

/** `nftables 4` */
export type SlotName = `${EngineName} ${Family}`;

/** What is wanted may depend on what others have there. */
export type Wanted = (found: FoundRules) => FamilyRules | undefined;

export interface SlotChange {
  /** `- ` what was too much, `+ ` what was missing; the order of rules counts. */
  readonly difference: readonly string[];
  /** All was as desired before: this is an external change. */
  readonly isRepair: boolean;
}

export class RuleSlot {
  readonly name: SlotName;
  readonly engine: RuleEngine;
  readonly family: Family;
  needsLook = true;
  /** The last writes did not bring what was wanted. */
  attempts = 0;
  error: FlannelError | undefined;
  /** Why it is not known whether something of ours is left here, where nothing is wanted. */
  unread: string | undefined;
  /** The kernel's rule set was at least this old when `bring` last read this slot. */
  #readGeneration: number | undefined;
  #found: FoundRules | undefined;
  #settled: string | undefined;

  constructor(engine: RuleEngine, family: Family) {
    this.engine = engine;
    this.family = family;
    this.name = `${engine.name} ${family}`;
  }

  /** As of the last look. */
  get foundLines(): readonly string[] {
    return this.#found?.lines ?? [];
  }

  get dropsForwarded(): boolean {
    return this.#found?.dropsForwarded === true;
  }

  /** Whether the last `bring` read what this commit left, or something newer. */
  hasRead(generation: number): boolean {
    return this.#readGeneration !== undefined && isNotAfter(generation, this.#readGeneration);
  }

  isWanted(wanted: Wanted): boolean {
    return this.#found === undefined || wanted(this.#found) !== undefined;
  }

  wantedLines(wanted: Wanted): readonly string[] {
    return this.#found === undefined ? [] : this.engine.wantedLines(wanted(this.#found));
  }

  /** Whether it is known to be as wanted. */
  isSettled(wanted: Wanted): boolean {
    return !this.needsLook && this.#found !== undefined && this.#settled === textOf(this.wantedLines(wanted));
  }

  /** Looks, without writing; a difference is left for the next `bring`. Throws what the tool says. */
  async look(wanted: Wanted): Promise<readonly string[]> {
    const neededLook = this.needsLook;
    this.needsLook = false;
    try {
      this.#found = await this.engine.read(this.family);
    } catch (error) {
      this.needsLook = true;
      throw error;
    }
    const difference = differenceOf(this.#found.lines, this.wantedLines(wanted));
    this.needsLook = neededLook || difference.length > 0;
    return difference;
  }

  /**
   * Looks, and writes what differs; undefined when nothing does. What was written is to be looked at once more, which
   * the slot remembers. `generation` is the rule set's, asked for before. Throws what the tool says.
   */
  async bring(wanted: Wanted, generation?: number): Promise<SlotChange | undefined> {
    const difference = await this.look(wanted);
    this.#readGeneration = generation;
    if (this.#found === undefined) throw new FlannelError("INTERNAL", "the rules are not read yet");
    const wantedText = textOf(this.wantedLines(wanted));
    if (difference.length === 0) {
      this.needsLook = false;
      this.#settled = wantedText;
      return undefined;
    }
    const isRepair = this.#settled === wantedText;
    this.needsLook = true;
    await this.engine.write(this.family, wanted(this.#found), this.#found);
    return { difference, isRepair };
  }
}

/** In the kernel's counting of commits, which wraps. */
function isNotAfter(generation: number, other: number): boolean {
  return ((generation - other) | 0) <= 0;
}

/** Empty when the two are the same in the same order. */
function differenceOf(found: readonly string[], wanted: readonly string[]): string[] {
  if (textOf(found) === textOf(wanted)) return [];
  const lines = [
    ...found.filter((line) => !wanted.includes(line)).map((line) => `- ${line}`),
    ...wanted.filter((line) => !found.includes(line)).map((line) => `+ ${line}`),
  ];
  return lines.length > 0 ? lines : wanted.map((line) => `~ ${line}`);
}

function textOf(lines: readonly string[]): string {
  return lines.join("\n");
}
