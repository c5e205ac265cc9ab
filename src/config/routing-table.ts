// A network's own routing table and the rules that lead there: `RoutingTable`, `RoutingRules`. Pure.
import { type Family, familyOf, tryParsePrefix } from "../ip/address.ts";
import { networkOf } from "../ip/prefix.ts";
import { type JsonEntry, jsonEntries } from "../json/json-entries.ts";
import { didYouMean, foldKey } from "../json/nearest.ts";
import { invalid } from "./address-pool.ts";
import type { Routing, RoutingRule } from "./network-config.ts";

const MAX_TABLE = 0xffff_ffff;
const MAX_RULES = 100;
/** The kernel's own (default, main and local), and the agent's, which keeps networks apart by it (`ISOLATION_TABLE`). */
const TAKEN_TABLES: readonly number[] = [0, 253, 254, 255, 2_410];
/** linux/if.h: 15 characters, none of which parts a path or a word. */
const DEVICE_NAME = /^[^\s/:]{1,15}$/;
const ruleKeys = ["IncomingDevice", "From", "Mark", "Mask"] as const;

/** Throws `CONFIG_INVALID`. Null means "not given". */
export function decodeRoutingTable(key: string, { value, raw }: JsonEntry): number | undefined {
  if (value === null) return undefined;
  const isTable = typeof value === "number" && /^\d+$/.test(raw) && value <= MAX_TABLE;
  if (!isTable || TAKEN_TABLES.includes(value)) {
    throw invalid(
      key,
      typeof value === "number" ? raw : value,
      "must be the number of a routing table of its own, such as 100",
    );
  }
  return value;
}

/** Throws `CONFIG_INVALID`. */
export function decodeRoutingRules(key: string, { value, raw }: JsonEntry): readonly RoutingRule[] {
  if (value === null) return [];
  if (!Array.isArray(value) || value.length > MAX_RULES) {
    throw invalid(key, value, `must be a list of at most ${MAX_RULES} rules such as {"IncomingDevice": "br-red"}`);
  }
  const items: unknown = JSON.parse(raw);
  const texts = Array.isArray(items) ? items.map((item) => JSON.stringify(item)) : [];
  return Object.freeze(texts.map((text, index) => decodeRule(`${key}[${index}]`, value[index], text)));
}

function decodeRule(path: string, value: unknown, text: string): RoutingRule {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(path, value, 'must be an object such as {"IncomingDevice": "br-red"}');
  }
  let rule: RoutingRule = {};
  for (const entry of jsonEntries(text)) {
    const name = ruleKeys.find((known) => foldKey(known) === foldKey(entry.key));
    if (name === undefined) {
      throw invalid(
        `${path}.${entry.key.slice(0, 60)}`,
        undefined,
        `is not a key of a rule${didYouMean(entry.key, ruleKeys)}`,
      );
    }
    if (entry.value !== null) rule = { ...rule, ...decodeSelector(`${path}.${name}`, name, entry) };
  }
  const { mask, ...selectors } = rule;
  if (mask !== undefined && rule.mark === undefined) throw invalid(`${path}.Mask`, mask, "needs a Mark");
  if (Object.keys(selectors).length === 0) {
    throw invalid(
      path,
      value,
      "selects nothing: give IncomingDevice, From or Mark, or every packet of this host would go there",
    );
  }
  return Object.freeze(rule);
}

function decodeSelector(path: string, name: (typeof ruleKeys)[number], { value, raw }: JsonEntry): RoutingRule {
  if (name === "IncomingDevice") {
    const isName = typeof value === "string" && DEVICE_NAME.test(value) && value !== "." && value !== "..";
    if (isName) return { incomingDevice: value };
    throw invalid(path, value, "must be the name of a network device, of at most 15 characters");
  }
  if (name === "From") {
    const from = typeof value === "string" ? tryParsePrefix(value) : undefined;
    if (from !== undefined) return { from: networkOf(from) };
    throw invalid(path, value, 'must be a prefix such as "10.5.0.0/16"');
  }
  const isMark = typeof value === "number" && /^\d+$/.test(raw) && value <= MAX_TABLE && value > 0;
  if (!isMark)
    throw invalid(path, typeof value === "number" ? raw : value, "must be a whole number from 1 to 4294967295");
  return name === "Mark" ? { mark: value } : { mask: value };
}

/** Undefined without a table. Throws `CONFIG_INVALID` for rules that lead nowhere or are of a family that is off. */
export function resolveRouting(
  table: number | undefined,
  rules: readonly RoutingRule[],
  families: ReadonlySet<Family>,
): Routing | undefined {
  if (table === undefined) {
    if (rules.length > 0) throw invalid("RoutingRules", undefined, "need a RoutingTable, to which they lead");
    return undefined;
  }
  const index = rules.findIndex(({ from }) => from !== undefined && !families.has(familyOf(from)));
  if (index >= 0) {
    throw invalid(
      `RoutingRules[${index}].From`,
      rules[index]?.from,
      "is of an address family that the network does not have",
    );
  }
  return Object.freeze({ table, rules });
}

export function isSameRouting(a: Routing | undefined, b: Routing | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
