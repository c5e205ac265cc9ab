// The expressions of an nf_tables rule, as the kernel lists them: what is loaded into which register, and what is compared.
// Shapes for `linux/netfilter/nf_tables.h`. Only types.

/** Registers are a file of 64 bytes, addressed here by the offset of the first one. */
export type RegisterOffset = number;

export type RuleVerdict =
  /**
   * `rewrite`: it gets another destination, and goes on. `unknown`: it may end the packet's way here, nobody knows how (queue, tproxy).
   */
  | { readonly type: "accept" | "drop" | "reject" | "rewrite" | "return" | "continue" | "unknown" }
  | { readonly type: "jump" | "goto"; readonly chain: string };

export type Expression =
  | {
      readonly type: "payload";
      readonly register: RegisterOffset;
      /** NFT_PAYLOAD_*. */
      readonly base: number;
      readonly offset: number;
      readonly length: number;
    }
  /** NFT_META_*, NFT_CT_*. */
  | { readonly type: "meta" | "ct"; readonly register: RegisterOffset; readonly key: number }
  | { readonly type: "setMark"; readonly register: RegisterOffset }
  /** Marks as iptables does: mark & ~mask ^ value; undefined: nobody knows. */
  | { readonly type: "mark"; readonly value: number | undefined; readonly mask: number }
  | { readonly type: "addressType"; readonly register: RegisterOffset; readonly of: "source" | "destination" }
  | {
      readonly type: "bitwise";
      readonly source: RegisterOffset;
      readonly register: RegisterOffset;
      readonly mask: Uint8Array;
      readonly xor: Uint8Array;
    }
  /** `operation`: NFT_CMP_*. */
  | {
      readonly type: "compare";
      readonly register: RegisterOffset;
      readonly operation: number;
      readonly value: Uint8Array;
    }
  /** In one of these ranges, both ends included; big-endian as in a packet. */
  | {
      readonly type: "among";
      readonly register: RegisterOffset;
      readonly ranges: readonly (readonly [from: Uint8Array, to: Uint8Array])[];
      readonly isNegated: boolean;
    }
  | {
      readonly type: "lookup";
      readonly register: RegisterOffset;
      readonly set: string;
      readonly isNegated: boolean;
      /** It gives the verdict: a verdict map. */
      readonly givesVerdict: boolean;
    }
  | { readonly type: "immediate"; readonly register: RegisterOffset; readonly value: Uint8Array }
  | { readonly type: "verdict"; readonly verdict: RuleVerdict }
  /** Counts, tells or changes something that no test asks for. */
  | { readonly type: "harmless" }
  /** Nobody knows whether it matches, and what it loads into registers. */
  | { readonly type: "unknown" };

export interface KernelChain {
  /** NFPROTO_*. */
  readonly family: number;
  readonly table: string;
  readonly name: string;
  /** Of base chains. */
  readonly hook?: {
    readonly number: number;
    readonly priority: number;
    /** filter, nat, route. */
    readonly type: string;
    /** Of ingress and egress. */
    readonly devices: readonly string[];
    readonly dropsByPolicy: boolean;
  };
}

export interface KernelRule {
  /** Number in its table, as `nft -a` shows it. */
  readonly handle: string;
  readonly expressions: readonly Expression[];
}

export interface KernelSet {
  readonly flags: number;
  readonly keyLength: number;
}

export interface KernelElement {
  readonly key: Uint8Array;
  /** Of ranges over several fields; included. */
  readonly keyEnd?: Uint8Array;
  /** It only ends the interval of the one before it, and is not part of it. */
  readonly isEnd: boolean;
  /** Matches what no other element does. */
  readonly isCatchAll: boolean;
  readonly verdict?: RuleVerdict;
  /** Matches only as long as an expression of its own says so. */
  readonly isConditional: boolean;
}
