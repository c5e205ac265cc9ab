// Reads the text of iptables-save into chains and rules as nft lists them, for what nft does not list. Pure; input is hostile.
import type { Family } from "../ip/address.ts";
import type { Hook } from "./hook-packets.ts";
import {
  addChain,
  type HookChain,
  type HookRule,
  type HookTables,
  ruleText,
  tableKey,
  type Verdict,
} from "./hook-rules.ts";

const hookNames: Readonly<Record<string, Hook>> = {
  PREROUTING: "prerouting",
  INPUT: "input",
  FORWARD: "forward",
  OUTPUT: "output",
  POSTROUTING: "postrouting",
};

/** Reads on when the next step is asked for: a step is one line, so that other work can pass. */
export function* readSavedRules(
  text: string,
  family: Family,
  isLegacy: boolean,
  tables: HookTables,
): Generator<void, void, undefined> {
  const nftFamily = family === 4 ? "ip" : "ip6";
  let table = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) table = line.slice(1).trim();
    // Those of nat translate, and drop nothing.
    if (table === "" || table === "nat") continue;
    const [, chain = "", policy] = /^:(\S+) (\S+)/.exec(line) ?? [];
    if (chain !== "") addChain(tables, newChain(nftFamily, table, chain, policy === "DROP", isLegacy));
    const [, ofChain = "", spec = ""] = /^-A (\S+) ?(.*)$/.exec(line) ?? [];
    if (ofChain !== "")
      tables
        .get(tableKey(nftFamily, table, isLegacy))
        ?.get(ofChain)
        ?.rules.push(readSpec(spec, nftFamily));
    yield;
  }
}

function newChain(
  family: "ip" | "ip6",
  table: string,
  name: string,
  dropsByPolicy: boolean,
  isLegacy: boolean,
): HookChain {
  const hook = Object.hasOwn(hookNames, name) ? hookNames[name] : undefined;
  return { family, table, name, ...(hook !== undefined && { hook }), devices: [], dropsByPolicy, rules: [], isLegacy };
}

/** Words of one rule; a text in quotes is one word. */
function wordsOf(spec: string): string[] {
  return [...spec.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
}

const unknown = { xt: { type: "match", name: "unknown" } } as const;

function readSpec(spec: string, family: "ip" | "ip6"): HookRule {
  const words = wordsOf(spec);
  const matches: unknown[] = [];
  let verdict: Verdict = { type: "continue" };
  let name = "continue";
  let isNegated = false;
  for (let at = 0; at < words.length; at++) {
    const option = words[at] ?? "";
    if (option === "!") {
      isNegated = true;
      continue;
    }
    const value = words[++at] ?? "";
    if (option === "-j" || option === "-g") {
      verdict = verdictOf(option, value);
      name = verdict.type === "drop" ? value.toLowerCase() : verdict.type;
      // What follows belongs to the target.
      break;
    }
    const match = matchOf(option, value, isNegated, family);
    if (match !== undefined) matches.push(match);
    isNegated = false;
  }
  return { matches, verdict, text: ruleText(matches, name) };
}

const continuing: ReadonlySet<string> = new Set([
  "LOG",
  "NFLOG",
  "MARK",
  "CONNMARK",
  "CT",
  "NOTRACK",
  "TCPMSS",
  "SET",
  "TRACE",
  "CHECKSUM",
  "DSCP",
  "TOS",
  "TTL",
  "AUDIT",
]);

function verdictOf(option: string, target: string): Verdict {
  if (option === "-g") return { type: "goto", target };
  if (target === "ACCEPT") return { type: "accept" };
  if (target === "DROP" || target === "REJECT") return { type: "drop" };
  if (target === "RETURN") return { type: "return" };
  if (continuing.has(target)) return { type: "continue" };
  if (/^(NFQUEUE|QUEUE|TPROXY|SYNPROXY)$/.test(target)) return { type: "unknown" };
  return { type: "jump", target };
}

/** Undefined for what selects nothing. */
function matchOf(option: string, value: string, isNegated: boolean, family: "ip" | "ip6"): unknown {
  const compare = (left: unknown, right: unknown) => ({ match: { op: isNegated ? "!=" : "==", left, right } });
  switch (option) {
    case "-s":
      return compare({ payload: { protocol: family, field: "saddr" } }, addressOf(value));
    case "-d":
      return compare({ payload: { protocol: family, field: "daddr" } }, addressOf(value));
    case "-i":
      return compare({ meta: { key: "iifname" } }, deviceOf(value));
    case "-o":
      return compare({ meta: { key: "oifname" } }, deviceOf(value));
    case "-p":
      return compare({ meta: { key: "l4proto" } }, value);
    case "--dport":
      return /^\d+$/.test(value) ? compare({ payload: { protocol: "th", field: "dport" } }, Number(value)) : unknown;
    case "--ctstate":
      return compare({ ct: { key: "state" } }, value.toLowerCase().split(","));
    case "-m":
      return ["comment", "tcp", "udp", "conntrack"].includes(value) ? undefined : unknown;
    case "--comment":
      return undefined;
    default:
      return unknown;
  }
}

function addressOf(value: string): unknown {
  const [addr = "", length] = value.split("/");
  return length === undefined ? addr : { prefix: { addr, len: Number(length) } };
}

function deviceOf(value: string): string {
  return value.endsWith("+") ? `${value.slice(0, -1)}*` : value;
}
