// What a rule of nf_tables does with a packet: carries out its expressions as the kernel does, on a packet that stands for many.
// Pure.
import type { Expression, RuleVerdict } from "../netlink/nftables/expressions.ts";
import { nftCompare } from "../netlink/uapi.ts";
import type { LoadedSet } from "./loaded-set.ts";
import type { PacketView } from "./packet-view.ts";
import { both, type Limit, others, Registers, type Share } from "./registers.ts";

export interface RuleOutcome {
  /** Of the packets, those that get this verdict; undefined: nobody knows. Never 0. */
  readonly share: Share;
  readonly verdict: RuleVerdict;
  readonly limit: Limit;
}

export interface RuleResult {
  /** Of the packets, those that the rule matches. */
  readonly share: Share;
  readonly outcomes: readonly RuleOutcome[];
  /** The mark afterwards; undefined: nobody knows. */
  readonly mark: number | undefined;
}

type SetLookup = (name: string) => LoadedSet | undefined;

const nothing: readonly RuleOutcome[] = [];

export class RuleMachine {
  readonly #registers = new Registers();

  /** `setOf`: undefined when nobody knows what the set holds. */
  run(expressions: readonly Expression[], view: PacketView, mark: number | undefined, setOf: SetLookup): RuleResult {
    this.#registers.reset(view.packet);
    let share: Share = 1;
    let newMark = mark;
    for (const expression of expressions) {
      switch (expression.type) {
        case "verdict":
          return { share, outcomes: [this.#outcome(share, expression.verdict)], mark: newMark };
        case "lookup":
          if (expression.givesVerdict) return this.#verdictsOf(expression, setOf, share, newMark);
          share = both(share, this.#lookUp(expression, setOf));
          break;
        case "setMark":
          newMark = share === 1 ? this.#registers.number(expression.register) : undefined;
          break;
        case "mark":
          newMark =
            share === 1 && newMark !== undefined && expression.value !== undefined
              ? ((newMark & ~expression.mask) ^ expression.value) >>> 0
              : undefined;
          break;
        default:
          share = both(share, this.#step(expression, view, newMark));
      }
      if (share === 0) return { share: 0, outcomes: nothing, mark };
    }
    return { share, outcomes: nothing, mark: newMark };
  }

  #outcome(share: Share, verdict: RuleVerdict): RuleOutcome {
    return { share, verdict, limit: this.#registers.limit };
  }

  /** Loads, or compares; a load matches all, unless the packet has no such thing. */
  #step(
    expression: Exclude<Expression, { readonly type: "verdict" | "lookup" | "setMark" | "mark" }>,
    view: PacketView,
    mark: number | undefined,
  ): Share {
    const registers = this.#registers;
    switch (expression.type) {
      case "payload": {
        const { base, offset } = expression;
        registers.load(expression.register, expression.length, (byte) => view.payload(base, offset + byte));
        return 1;
      }
      case "meta":
        return this.#load(expression.register, view.meta(expression.key, mark));
      case "ct": {
        const cells = view.ct(expression.key);
        return cells === "absent" ? 0 : this.#load(expression.register, cells);
      }
      case "addressType":
        return this.#load(expression.register, view.addressType(expression.of));
      case "immediate": {
        const { value } = expression;
        registers.load(expression.register, value.length, (byte) => value[byte] ?? 0);
        return 1;
      }
      case "bitwise":
        registers.bitwise(expression.source, expression.register, expression.mask, expression.xor);
        return 1;
      case "compare":
        return this.#compare(expression.register, expression.operation, expression.value);
      case "among":
        return this.#among(expression.register, expression.ranges, expression.isNegated);
      default:
        registers.forget();
        return undefined;
    }
  }

  #load(register: number, cells: readonly number[] | undefined): Share {
    this.#registers.loadCells(register, cells);
    return 1;
  }

  #compare(register: number, operation: number, value: Uint8Array): Share {
    switch (operation) {
      case nftCompare.equal:
        return this.#registers.equals(register, value);
      case nftCompare.notEqual:
        return this.#negated(this.#registers.equals(register, value));
      case nftCompare.lessOrEqual:
        return this.#registers.isWithin(register, new Uint8Array(value.length), value);
      case nftCompare.greater:
        return this.#negated(this.#registers.isWithin(register, new Uint8Array(value.length), value));
      case nftCompare.greaterOrEqual:
        return this.#registers.isWithin(register, value, new Uint8Array(value.length).fill(0xff));
      case nftCompare.less:
        return this.#negated(this.#registers.isWithin(register, value, new Uint8Array(value.length).fill(0xff)));
      default:
        return undefined;
    }
  }

  /** What is left over is not one range. */
  #negated(share: Share): Share {
    if (share !== undefined && share > 0 && share < 1) this.#registers.limit = "several";
    return others(share);
  }

  #among(
    register: number,
    ranges: readonly (readonly [from: Uint8Array, to: Uint8Array])[],
    isNegated: boolean,
  ): Share {
    let sum: Share = 0;
    for (const [from, to] of ranges) {
      sum = either(sum, this.#registers.isWithin(register, from, to));
      if (sum === 1) break;
    }
    return isNegated ? this.#negated(sum) : sum;
  }

  #lookUp({ register, set, isNegated }: Extract<Expression, { type: "lookup" }>, setOf: SetLookup): Share {
    const loaded = setOf(set);
    if (loaded === undefined) return undefined;
    const { addresses, keyLength } = loaded;
    const ofAddresses = addresses && this.#registers.isInSet(register, keyLength, addresses);
    const share = ofAddresses ?? this.#amongElements(register, loaded);
    return isNegated ? this.#negated(share) : share;
  }

  #amongElements(register: number, { elements }: LoadedSet): Share {
    let sum: Share = 0;
    for (const { from, to, isCatchAll } of elements) {
      sum = either(sum, isCatchAll ? 1 : this.#registers.isWithin(register, from, to));
      if (sum === 1) break;
    }
    return sum;
  }

  #verdictsOf(
    { register, set }: Extract<Expression, { type: "lookup" }>,
    setOf: SetLookup,
    share: Share,
    mark: number | undefined,
  ): RuleResult {
    const loaded = setOf(set);
    if (loaded === undefined)
      return { share: undefined, outcomes: [this.#outcome(undefined, { type: "unknown" })], mark };
    const outcomes: RuleOutcome[] = [];
    let sum: Share = 0;
    const before = this.#registers.limit;
    for (const { from, to, isCatchAll, verdict } of loaded.elements) {
      this.#registers.limit = before;
      const found = isCatchAll ? this.#negated(sum) : this.#registers.isWithin(register, from, to);
      sum = either(sum, found);
      const matched = both(share, found);
      if (matched !== 0 && verdict !== undefined) outcomes.push(this.#outcome(matched, verdict));
      if (sum === 1) break;
    }
    return { share: both(share, sum), outcomes, mark };
  }
}

/** Of things that exclude each other. */
function either(a: Share, b: Share): Share {
  if (a === 1 || b === 1) return 1;
  return a === undefined || b === undefined ? undefined : Math.min(a + b, 1);
}
