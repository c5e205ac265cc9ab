// Reads `nft -j list table` back into the lines of nft-text.ts. What it does not know it shows as it is, which then
// differs from everything wanted. Pure.
import { FlannelError } from "../errors.ts";
import { type Address, tryParseAddress } from "../ip/address.ts";
import { tryParseJson } from "../json/try-parse-json.ts";
import { chainLine, elementLine, type NftFound, nftChains, nodeSetName, ruleLine, setLine } from "./nft-text.ts";

export const noTable: NftFound = { lines: [], hasTable: false, chains: [], sets: [], nodes: [], isForeign: false };

/** `table`: `ip flannel-ipv4`. Throws `FIREWALL_UNREADABLE` for text that is not nft's JSON. */
export function readNftTable(json: string, table: string): NftFound {
  const entries = nftEntries(json);
  const sets = entries.map((entry) => field(entry, "set")).filter((set) => set !== undefined);
  const chains = entries.map((entry) => field(entry, "chain")).filter((chain) => chain !== undefined);
  const rules = entries.map((entry) => field(entry, "rule")).filter((rule) => rule !== undefined);
  const nodes = sets.filter((set) => nameOf(set) === nodeSetName).flatMap(elementsOf);
  const setLines = sets.flatMap((set) => [
    setLine(table, nameOf(set), String(field(set, "type"))),
    ...elementsOf(set)
      .sort()
      .map((element) => elementLine(table, nameOf(set), element)),
  ]);
  const known = new Set<string>(Object.keys(nftChains));
  const byKnown = (a: unknown, b: unknown) => [...known].indexOf(nameOf(a)) - [...known].indexOf(nameOf(b));
  const chainLines = chains.sort(byKnown).map((chain) => chainLine(table, nameOf(chain), declarationOf(chain)));
  const rulesOf = (chain: unknown) => rules.filter((rule) => field(rule, "chain") === nameOf(chain));
  return {
    lines: [
      `add table ${table}`,
      ...setLines,
      ...chainLines,
      ...chains.flatMap((chain) => rulesOf(chain).map((rule) => ruleLine(table, nameOf(chain), ruleText(rule)))),
    ],
    hasTable: true,
    chains: chains.map(nameOf),
    sets: sets.map(nameOf),
    nodes,
    isForeign:
      chains.some((chain) => !isOwnChain(chain)) ||
      sets.some((set) => nameOf(set) !== nodeSetName || !/^ipv[46]_addr$/.test(String(field(set, "type")))) ||
      entries.some((entry) => ["map", "flowtable", "counter", "quota", "limit"].some((kind) => field(entry, kind))),
  };
}

/** The objects of any `nft -j` listing. Throws `FIREWALL_UNREADABLE` for any other text: half a listing is none. */
export function nftEntries(json: string): readonly unknown[] {
  const entries = field(tryParseJson(json), "nftables");
  if (Array.isArray(entries)) return entries;
  const shown = JSON.stringify(json.slice(0, 60));
  throw new FlannelError("FIREWALL_UNREADABLE", `nft printed something else than a JSON listing: ${shown}`, {
    retryable: true,
  });
}

/** What nft says of a table or chain that does not exist; not what a loader says that misses a library. */
export function isMissingObject({ stderr, exitCode }: { readonly stderr: string; readonly exitCode: number }): boolean {
  return exitCode === 1 && /^Error: .*No such file or directory/m.test(stderr);
}

export function field(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined;
}

function nameOf(object: unknown): string {
  return String(field(object, "name"));
}

function isOwnChain(chain: unknown): boolean {
  const name = nameOf(chain);
  if (name !== "postrtg" && name !== "forward" && name !== "clamp") return false;
  // A policy can be changed in place, the rest cannot.
  const withoutPolicy = (text: string) => text.replace(/policy \w+ ;/, "");
  return withoutPolicy(declarationOf(chain)) === withoutPolicy(nftChains[name].declaration);
}

function declarationOf(chain: unknown): string {
  const hook = field(chain, "hook");
  if (hook === undefined) return "";
  const [type, priority, policy] = ["type", "prio", "policy"].map((key) => String(field(chain, key)));
  return `type ${type} hook ${String(hook)} priority ${priority} ; policy ${policy} ;`;
}

function elementsOf(set: unknown): Address[] {
  const elements = field(set, "elem");
  if (!Array.isArray(elements)) return [];
  return elements.map((element) => tryParseAddress(String(element))).filter((element) => element !== undefined);
}

function ruleText(rule: unknown): string {
  const expressions = field(rule, "expr");
  return Array.isArray(expressions) ? expressions.map(expressionText).join(" ") : "?";
}

/** As nft shows it; what it does not know as JSON. */
export function expressionText(expression: unknown): string {
  const match = field(expression, "match");
  if (match !== undefined) return matchText(match) ?? JSON.stringify(expression);
  for (const verdict of ["accept", "return", "drop"]) {
    if (field(expression, verdict) === null) return verdict;
  }
  if (isClamp(field(expression, "mangle"))) return "tcp option maxseg size set rt mtu";
  const masquerade = field(expression, "masquerade");
  if (masquerade === null) return "masquerade";
  const flags = field(masquerade, "flags");
  if (typeof flags === "string") return `masquerade ${flags}`;
  return JSON.stringify(expression);
}

function isClamp(mangle: unknown): boolean {
  const option = field(field(mangle, "key"), "tcp option");
  const value = field(field(field(mangle, "value"), "rt"), "key");
  return field(option, "name") === "maxseg" && field(option, "field") === "size" && value === "mtu";
}

/** As some versions of nft list it: as a list, or as operands of an or. */
function isOfTwo(mask: unknown, ...names: readonly string[]): boolean {
  const operands = Array.isArray(mask) ? mask : field(mask, "|");
  return Array.isArray(operands) && operands.length === names.length && names.every((name) => operands.includes(name));
}

function matchText(match: unknown): string | undefined {
  const operator = field(match, "op");
  const right = valueText(field(match, "right"));
  const left = leftText(field(match, "left"));
  if (left === undefined || right === undefined) return undefined;
  if (operator === "!=") return `${left} != ${right}`;
  if (operator !== "==") return undefined;
  return left.includes(" & ") ? `${left} == ${right}` : `${left} ${right}`;
}

function leftText(left: unknown): string | undefined {
  const payload = field(left, "payload");
  if (payload !== undefined) return `${String(field(payload, "protocol"))} ${String(field(payload, "field"))}`;
  const operands = field(left, "&");
  if (!Array.isArray(operands) || operands.length !== 2) return undefined;
  const flags = field(operands[0], "payload");
  const isFlags = field(flags, "protocol") === "tcp" && field(flags, "field") === "flags";
  if (isFlags) return isOfTwo(operands[1], "syn", "rst") ? "tcp flags & (syn | rst)" : undefined;
  const key = field(field(operands[0], "meta"), "key");
  const mask = valueText(operands[1]);
  return key === undefined || mask === undefined ? undefined : `meta ${String(key)} & ${mask}`;
}

function valueText(value: unknown): string | undefined {
  if (typeof value === "number") return `0x${value.toString(16)}`;
  if (typeof value === "string") return value;
  const prefix = field(value, "prefix");
  return prefix === undefined ? undefined : `${String(field(prefix, "addr"))}/${String(field(prefix, "len"))}`;
}
