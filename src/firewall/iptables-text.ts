// Rules as iptables arguments, in exactly the form in which iptables-save shows them, so that they can be compared. Pure.
import type { Family } from "../ip/address.ts";
import {
  clampComment,
  type FamilyRules,
  forwardComment,
  masqueradeComment,
  type PrefixMatch,
  type Rule,
  type RuleNames,
} from "./rule-set.ts";

/** Our chain in one table of iptables, and the built-in chain that leads into it. */
export interface ChainPlace {
  readonly table: "nat" | "filter" | "mangle";
  readonly builtIn: "POSTROUTING" | "FORWARD";
  readonly chain: string;
  readonly comment: string;
  /** Before all others: another program's DROP would otherwise win. */
  readonly jumpsFirst: boolean;
  readonly rulesOf: (rules: FamilyRules) => readonly Rule[] | undefined;
}

export function chainPlaces(names: RuleNames): readonly ChainPlace[] {
  return [
    {
      table: "nat",
      builtIn: "POSTROUTING",
      chain: names.masqueradeChain,
      comment: masqueradeComment,
      jumpsFirst: false,
      rulesOf: (rules) => rules.masquerade,
    },
    {
      table: "filter",
      builtIn: "FORWARD",
      chain: names.forwardChain,
      comment: forwardComment,
      jumpsFirst: true,
      rulesOf: (rules) => rules.forward,
    },
    {
      table: "mangle",
      builtIn: "FORWARD",
      chain: names.clampChain,
      comment: clampComment,
      jumpsFirst: false,
      rulesOf: (rules) => rules.clamp,
    },
  ];
}

/** `iptables` for people; the line is what would be given to it. */
export function toolName(family: Family): "iptables" | "ip6tables" {
  return family === 4 ? "iptables" : "ip6tables";
}

/** One line for each object; empty when nothing is wanted. */
export function iptablesLines(rules: FamilyRules | undefined, names: RuleNames, hasNodeSet: boolean): string[] {
  if (rules === undefined) return [];
  const places = chainPlaces(names).filter((place) => place.rulesOf(rules) !== undefined);
  return places.flatMap((place) => {
    const command = `${toolName(rules.family)} -t ${place.table}`;
    return [
      `${command} -N ${place.chain}`,
      ...ruleSpecs(place, rules, names, hasNodeSet).map((spec) => `${command} -A ${place.chain} ${spec}`),
      `${command} ${jumpCommand(place)} ${jumpSpec(place)}`,
    ];
  });
}

export function jumpCommand({ builtIn, jumpsFirst }: ChainPlace): string {
  return jumpsFirst ? `-I ${builtIn} 1` : `-A ${builtIn}`;
}

export function jumpSpec({ chain, comment }: ChainPlace): string {
  return `-m comment --comment "${comment}" -j ${chain}`;
}

/** What follows `-A CHAIN`. Without an ipset every node has a rule of its own. */
export function ruleSpecs(place: ChainPlace, rules: FamilyRules, names: RuleNames, hasNodeSet: boolean): string[] {
  const length = rules.family === 4 ? 32 : 128;
  return (place.rulesOf(rules) ?? []).flatMap((rule) => {
    if (rule.destination !== "nodes") return [ruleSpec(rule, destinationText(rule.destination), place.comment)];
    if (hasNodeSet) return [ruleSpec(rule, "", place.comment, `-m set --match-set ${names.nodeSet(rules.family)} dst`)];
    return (rules.nodes ?? []).map((node) => ruleSpec(rule, `-d ${node}/${length}`, place.comment));
  });
}

function ruleSpec(rule: Rule, destination: string, comment: string, match = ""): string {
  const { mark, source, verdict } = rule;
  return [
    source === undefined ? "" : addressText("-s", source),
    destination,
    verdict === "clamp-mss" ? "-p tcp -m tcp --tcp-flags SYN,RST SYN" : "",
    mark === undefined ? "" : `-m mark --mark ${hex(mark)}/${hex(mark)}`,
    match,
    `-m comment --comment "${comment}"`,
    `-j ${targets[verdict]}`,
  ]
    .filter((part) => part !== "")
    .join(" ");
}

const targets: Readonly<Record<Rule["verdict"], string>> = {
  accept: "ACCEPT",
  return: "RETURN",
  masquerade: "MASQUERADE",
  "masquerade-random": "MASQUERADE --random-fully",
  "clamp-mss": "TCPMSS --clamp-mss-to-pmtu",
};

function destinationText(destination: PrefixMatch | undefined): string {
  return destination === undefined ? "" : addressText("-d", destination);
}

function addressText(option: "-s" | "-d", { prefix, isNegated }: PrefixMatch): string {
  return `${isNegated ? "! " : ""}${option} ${prefix}`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
