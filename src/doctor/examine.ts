// Runs the list of checks for a person: facts in parallel, each with a time limit and on its own, so that one that fails or
// hangs costs its own checks alone. Then the findings are put in order: causes before what they bring about.
import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";
import { describeError } from "../errors.ts";
import { causeOf, suspicionRank } from "./causes.ts";
import type { Check, CheckContext } from "./check.ts";
import type { Finding } from "./finding.ts";
import { type FixStep, stepText } from "./fix-step.ts";
import { type FactName, type HostFacts, noFacts } from "./host-facts.ts";

/** One for each fact that can be had; each is called at most once. */
export type Gatherers = { readonly [F in FactName]?: () => Promise<HostFacts[F]> | HostFacts[F] };

/** What one look found, before it is put in order: looks at several networks of a host are put in order together. */
export interface Look {
  /** Names of the causes that were looked for. */
  readonly names: ReadonlySet<string>;
  readonly findings: readonly Finding[];
  /** Reason by name. */
  readonly unknown: ReadonlyMap<string, string>;
}

/** All that was found of one cause. */
export interface RankedFinding extends Pick<Finding, "name" | "severity"> {
  /** A clause each; never empty. */
  readonly evidence: readonly string[];
  /** The best first; never empty. */
  readonly remedies: readonly string[];
  /** Names of findings that it brings about. */
  readonly explains: readonly string[];
  /** See `Finding`; each once. */
  readonly fix: readonly FixStep[];
}

export interface Examination {
  /** Number of causes that were looked for. */
  readonly checked: number;
  /** Most likely cause first. */
  readonly findings: readonly RankedFinding[];
  /** Findings that others bring about, with the name of the first of those. */
  readonly explained: readonly { readonly finding: RankedFinding; readonly by: string }[];
  readonly unknown: readonly { readonly name: string; readonly reason: string }[];
}

export interface ExamineOptions {
  /** For each fact. */
  readonly limitMs: number;
  /** Found elsewhere, such as by the agent. */
  readonly others?: readonly Finding[];
}

type Gathered = ReadonlyMap<FactName, { readonly value: unknown } | { readonly failure: string }>;

/** Never rejects. */
export async function examine(
  context: CheckContext,
  list: readonly Check[],
  gatherers: Gatherers,
  options: ExamineOptions,
): Promise<Examination> {
  return conclude(await look(context, list, gatherers, options));
}

/** Never rejects. */
export async function look(
  context: CheckContext,
  list: readonly Check[],
  gatherers: Gatherers,
  { limitMs, others = [] }: ExamineOptions,
): Promise<Look> {
  const applicable = list.filter((check) => check.appliesTo(context));
  const needed = [...new Set(applicable.flatMap(({ needs }) => needs))];
  const gathered: Gathered = new Map(
    await Promise.all(needed.map(async (fact) => [fact, await gather(fact, gatherers, limitMs)] as const)),
  );
  const findings: Finding[] = [];
  const unknown = new Map<string, string>();
  for (const check of applicable) {
    const outcome = judge(check, context, gathered);
    if (typeof outcome === "string") unknown.set(check.name, outcome);
    else findings.push(...outcome);
  }
  findings.push(
    ...others.filter(({ name, evidence }) => !findings.some((own) => own.name === name || own.evidence === evidence)),
  );
  return { names: new Set([...applicable, ...others].map(({ name }) => name)), findings, unknown };
}

/** Pure. */
export function conclude({ names, findings, unknown }: Look): Examination {
  const found = new Set<string>(findings.map(({ name }) => name));
  return {
    checked: names.size,
    ...inOrder(findings),
    unknown: [...unknown].filter(([name]) => !found.has(name)).map(([name, reason]) => ({ name, reason })),
  };
}

async function gather<F extends FactName>(
  fact: F,
  gatherers: Gatherers,
  limitMs: number,
): Promise<{ readonly value: HostFacts[F] } | { readonly failure: string }> {
  const gatherer = gatherers[fact];
  if (gatherer === undefined) return { failure: "it cannot be looked at here" };
  const late = new AbortController();
  const tooLate = delay(limitMs, undefined, { signal: late.signal })
    // Where other work held the event loop, an answer may be waiting behind the timer.
    .then(() => nextTurn())
    .then(() => ({ failure: `no answer within ${limitMs / 1_000} s` }));
  tooLate.catch(() => undefined);
  try {
    const value = Promise.resolve()
      .then(() => gatherer())
      .then((found) => ({ value: found }));
    return await Promise.race([value, tooLate]);
  } catch (error) {
    return { failure: describeError(error) };
  } finally {
    late.abort();
  }
}

/** Findings, or why there are none. */
function judge(check: Check, context: CheckContext, gathered: Gathered): readonly Finding[] | string {
  let facts: HostFacts = noFacts;
  for (const fact of check.needs) {
    const found = gathered.get(fact);
    if (found === undefined) return "it was not looked at";
    if ("failure" in found) return found.failure;
    facts = { ...facts, [fact]: found.value };
  }
  try {
    return check.run(context, facts);
  } catch (error) {
    return describeError(error);
  }
}

/** Errors first, and of each the root before what it may bring about; consequences apart. Pure. */
export function inOrder(found: readonly Finding[]): Pick<Examination, "findings" | "explained"> {
  const ranked = merge(found).toSorted(
    (a, b) =>
      Number(b.severity === "error") - Number(a.severity === "error") || suspicionRank(a.name) - suspicionRank(b.name),
  );
  const explained: { finding: RankedFinding; by: string }[] = [];
  const roots: RankedFinding[] = [];
  for (const [at, finding] of ranked.entries()) {
    const by = ranked.find(({ name }) => explainsOf(name).includes(finding.name));
    // Of two that would explain each other the first stays.
    const isMutual = by !== undefined && explainsOf(finding.name).includes(by.name) && at < ranked.indexOf(by);
    if (by === undefined || isMutual) roots.push(finding);
    else explained.push({ finding, by: by.name });
  }
  const withExplained = roots.map((finding) => ({
    ...finding,
    explains: explained.filter(({ by }) => by === finding.name).map((each) => each.finding.name),
  }));
  return { findings: withExplained, explained };
}

/** One for each name, as severe as the worst. */
function merge(found: readonly Finding[]): RankedFinding[] {
  const byName = Map.groupBy(found, ({ name }) => name);
  return [...byName].map(([name, group]) => ({
    name,
    severity: group.some(({ severity }) => severity === "error") ? "error" : "warning",
    evidence: [...new Set(group.map(({ evidence }) => evidence))],
    remedies: [...new Set(group.map(({ remedy }) => remedy))],
    explains: [],
    fix: [...new Map(group.flatMap(({ fix = [] }) => fix).map((step) => [stepText(step), step])).values()],
  }));
}

function explainsOf(name: string): readonly string[] {
  return causeOf(name)?.explains ?? [];
}
