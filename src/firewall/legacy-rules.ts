// Reads the text of iptables-save into chains, and their rules as the expressions that nf_tables would have, for legacy iptables, which
// nf_tables does not know. Pure; input is hostile.

import { addressToBytes, type Family, prefixAddress, prefixLength, tryParsePrefix } from "../ip/address.ts";
import type { Expression, RuleVerdict } from "../netlink/nftables/expressions.ts";
import {
  addressTypeExpressions,
  ctStateExpressions,
  markExpressions,
  type PortRange,
  portExpressions,
} from "../netlink/nftables/extensions.ts";
import { nftCompare, nftMeta, nftPayloadBase } from "../netlink/uapi.ts";
import { type HookChain, rewritesAt, type ScanRule } from "./hook-chain.ts";
import type { Hook } from "./hook-packets.ts";

/** Chains by table and name, with the lines of their rules. */
export interface SavedTables {
  readonly baseChains: readonly HookChain[];
  /** By `chainKey`. */
  readonly rules: ReadonlyMap<string, readonly string[]>;
}

const hookNames: Readonly<Record<string, Hook>> = {
  PREROUTING: "prerouting",
  INPUT: "input",
  FORWARD: "forward",
  OUTPUT: "output",
  POSTROUTING: "postrouting",
};
/** NF_IP_PRI_*. */
const priorities: Readonly<Record<string, number>> = { raw: -300, mangle: -150, nat: -100, filter: 0, security: 50 };

export function chainKey(family: "ip" | "ip6", table: string, chain: string): string {
  return `${family} ${table} ${chain}`;
}

/** Empty for a chain that no hook leads to. */
function baseChainOf(family: HookChain["family"], table: string, name: string, policy: string): HookChain[] {
  const hook = Object.hasOwn(hookNames, name) ? hookNames[name] : undefined;
  const translates = table === "nat";
  if (hook === undefined || (translates && !rewritesAt.includes(hook))) return [];
  const common = { priority: priorities[table] ?? 0, devices: [], isLegacy: true, translates };
  return [{ family, table, name, hook, dropsByPolicy: policy === "DROP", ...common }];
}

/** `withNat`: also chains that translate. `pause` lets other work pass. */
export async function readSavedRules(
  text: string,
  family: Family,
  withNat: boolean,
  pause: () => Promise<void>,
): Promise<SavedTables> {
  const nftFamily = family === 4 ? "ip" : "ip6";
  const baseChains: HookChain[] = [];
  const rules = new Map<string, string[]>();
  let table = "";
  for (const line of text.split("\n")) {
    await pause();
    if (line.startsWith("*")) table = line.slice(1).trim();
    if (!Object.hasOwn(priorities, table) || (table === "nat" && !withNat)) continue;
    const [, chain = "", policy = ""] = /^:(\S+) (\S+)/.exec(line) ?? [];
    if (chain !== "") {
      rules.set(chainKey(nftFamily, table, chain), []);
      baseChains.push(...baseChainOf(nftFamily, table, chain, policy));
    }
    const [, ofChain = "", spec = ""] = /^-A (\S+) ?(.*)$/.exec(line) ?? [];
    if (ofChain !== "") rules.get(chainKey(nftFamily, table, ofChain))?.push(spec);
  }
  return { baseChains, rules };
}

/** Words of one rule; a text in quotes is one word. */
function wordsOf(spec: string): string[] {
  return [...spec.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
}

const unknown: readonly Expression[] = [{ type: "unknown" }];
const REGISTER = 0;

/** One rule as iptables-save has it, without `-A CHAIN`. */
export function readSpec(spec: string, family: "ip" | "ip6", handle: string): ScanRule {
  const words = wordsOf(spec);
  const expressions: Expression[] = [];
  let isNegated = false;
  for (let at = 0; at < words.length; at++) {
    const option = words[at] ?? "";
    if (option === "!") {
      isNegated = true;
      continue;
    }
    const value = words[++at] ?? "";
    if (option === "-j" || option === "-g") {
      expressions.push(...targetOf(option, value, words.slice(at + 1)));
      // What follows belongs to the target.
      break;
    }
    expressions.push(...matchOf(option, value, isNegated, family));
    isNegated = false;
  }
  return { handle, expressions, text: spec };
}

const continuing: ReadonlySet<string> = new Set([
  ...["LOG", "NFLOG", "CT", "NOTRACK", "TCPMSS", "SET", "TRACE", "CHECKSUM", "DSCP", "TOS", "TTL", "AUDIT"],
]);

function targetOf(option: string, target: string, rest: readonly string[]): readonly Expression[] {
  if (target === "MARK") {
    const [mark, mask = 0xff_ff_ff_ff] = numbersOf(rest[1] ?? "");
    const isPlain = rest[0] === "--set-xmark" && mark !== undefined;
    return [{ type: "mark", value: isPlain ? mark : undefined, mask }];
  }
  if (target === "CONNMARK") return [{ type: "mark", value: undefined, mask: 0 }];
  if (continuing.has(target)) return [];
  return [{ type: "verdict", verdict: verdictOf(option, target) }];
}

function verdictOf(option: string, target: string): RuleVerdict {
  if (option === "-g") return { type: "goto", chain: target };
  if (target === "ACCEPT") return { type: "accept" };
  if (target === "DROP") return { type: "drop" };
  if (target === "REJECT") return { type: "reject" };
  if (target === "RETURN") return { type: "return" };
  if (/^(DNAT|REDIRECT|NETMAP)$/.test(target)) return { type: "rewrite" };
  if (/^(NFQUEUE|QUEUE|TPROXY|SYNPROXY)$/.test(target)) return { type: "unknown" };
  return { type: "jump", chain: target };
}

const withoutOwnMeaning: ReadonlySet<string> = new Set([
  ...["comment", "tcp", "udp", "conntrack", "state", "multiport", "mark", "addrtype"],
]);

function matchOf(option: string, value: string, isNegated: boolean, family: "ip" | "ip6"): readonly Expression[] {
  switch (option) {
    case "-s":
      return addressMatch("source", value, isNegated, family);
    case "-d":
      return addressMatch("destination", value, isNegated, family);
    case "-i":
      return deviceMatch(nftMeta.incomingName, value, isNegated);
    case "-o":
      return deviceMatch(nftMeta.outgoingName, value, isNegated);
    case "-p":
      return protocolMatch(value, isNegated);
    case "--dport":
    case "--dports":
      return portMatch(value, isNegated);
    case "--ctstate":
    case "--state":
      return stateMatch(value, isNegated);
    case "--mark": {
      const [mark, mask = 0xff_ff_ff_ff] = numbersOf(value);
      return mark === undefined ? unknown : markExpressions(mark, mask, isNegated);
    }
    case "--src-type":
      return typeMatch("source", value, isNegated);
    case "--dst-type":
      return typeMatch("destination", value, isNegated);
    case "-m":
      return withoutOwnMeaning.has(value) ? [] : unknown;
    case "--comment":
      return [];
    default:
      return unknown;
  }
}

function addressMatch(
  side: "source" | "destination",
  text: string,
  isNegated: boolean,
  family: "ip" | "ip6",
): readonly Expression[] {
  const isIpv4 = family === "ip";
  const prefix = tryParsePrefix(text.includes("/") ? text : `${text}/${isIpv4 ? 32 : 128}`);
  if (prefix === undefined) return unknown;
  const value = addressToBytes(prefixAddress(prefix));
  const length = isIpv4 ? 4 : 16;
  if (value.length !== length) return unknown;
  const first = isIpv4 ? 12 : 8;
  const offset = side === "source" ? first : first + length;
  const mask = value.map((_, byte) => 0xff & ~(0xff >> Math.min(Math.max(prefixLength(prefix) - byte * 8, 0), 8)));
  return [
    { type: "payload", register: REGISTER, base: nftPayloadBase.network, offset, length },
    { type: "bitwise", source: REGISTER, register: REGISTER, mask, xor: new Uint8Array(length) },
    compare(
      value.map((byte, at) => byte & (mask[at] ?? 0)),
      isNegated,
    ),
  ];
}

/** `eth+`: all whose name begins so. */
function deviceMatch(key: number, name: string, isNegated: boolean): readonly Expression[] {
  const isPattern = name.endsWith("+");
  const value = new TextEncoder().encode(isPattern ? name.slice(0, -1) : `${name}\0`);
  return value.length > 16 ? unknown : [{ type: "meta", register: REGISTER, key }, compare(value, isNegated)];
}

const protocolNumbers: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, "ipv6-icmp": 58, sctp: 132 };

function protocolMatch(name: string, isNegated: boolean): readonly Expression[] {
  const number = /^\d+$/.test(name)
    ? Number(name)
    : Object.hasOwn(protocolNumbers, name)
      ? protocolNumbers[name]
      : undefined;
  if (number === undefined) return unknown;
  return [{ type: "meta", register: REGISTER, key: nftMeta.layer4Protocol }, compare(Uint8Array.of(number), isNegated)];
}

function portMatch(text: string, isNegated: boolean): readonly Expression[] {
  const ranges = text.split(",").map((part): PortRange => {
    const [from = Number.NaN, to = from] = part
      .split(":")
      .map((port) => (/^\d+$/.test(port) ? Number(port) : Number.NaN));
    return [from, to];
  });
  return ranges.flat().some(Number.isNaN) ? unknown : portExpressions(ranges, isNegated);
}

const stateBits: Readonly<Record<string, number>> = { INVALID: 1, ESTABLISHED: 2, RELATED: 4, NEW: 8, UNTRACKED: 64 };

function stateMatch(text: string, isNegated: boolean): readonly Expression[] {
  // SNAT and DNAT: not those that we try.
  const bits = text.split(",").map((name) => (Object.hasOwn(stateBits, name) ? (stateBits[name] ?? 0) : 0));
  return ctStateExpressions(
    bits.reduce((sum, bit) => sum | bit, 0),
    isNegated,
  );
}

const typeBits: Readonly<Record<string, number>> = {
  UNICAST: 1 << 1,
  LOCAL: 1 << 2,
  BROADCAST: 1 << 3,
  MULTICAST: 1 << 5,
};

function typeMatch(side: "source" | "destination", text: string, isNegated: boolean): readonly Expression[] {
  const bits = text.split(",").map((name) => (Object.hasOwn(typeBits, name) ? typeBits[name] : undefined));
  if (bits.includes(undefined)) return unknown;
  return addressTypeExpressions(
    side,
    bits.reduce<number>((sum, bit) => sum | (bit ?? 0), 0),
    isNegated,
  );
}

/** `0x1/0xff`. */
function numbersOf(text: string): number[] {
  return text
    .split("/")
    .filter((part) => /^(0x[0-9a-f]{1,8}|\d{1,10})$/i.test(part))
    .map(Number);
}

function compare(value: Uint8Array, isNegated: boolean): Expression {
  return {
    type: "compare",
    register: REGISTER,
    operation: isNegated ? nftCompare.notEqual : nftCompare.equal,
    value,
  };
}
