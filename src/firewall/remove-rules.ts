// Takes all traffic rules of one agent away, wherever they are: `flannelctl cleanup`, while no agent runs.
import { describeError, hasCode } from "../errors.ts";
import { familyOf, type Prefix } from "../ip/address.ts";
import { removeLeftTraceTables } from "../netlink/nftables/nf-trace-socket.ts";
import { isAbsentEngine } from "./absent-engine.ts";
import { type FoundEngines, findEngines } from "./find-engines.ts";
import { RuleHost } from "./rule-host.ts";
import { ruleNames } from "./rule-set.ts";
import { RuleSlot } from "./rule-slot.ts";

export interface RemoveRulesOptions {
  /** See `ruleNames`. */
  readonly suffix: string;
  /** Whose direct rules of old versions go too. */
  readonly networks: readonly Prefix[];
  /** Only says what would go. */
  readonly isDryRun: boolean;
}

export interface RemovedRules {
  /** As the commands that would make them. */
  readonly removed: readonly string[];
  readonly failures: readonly { readonly object: string; readonly error: string }[];
}

const nothing = () => undefined;

/** Never throws: what cannot be removed is in `failures`. */
export async function removeRules({ suffix, networks, isDryRun }: RemoveRulesOptions): Promise<RemovedRules> {
  const removed: string[] = [];
  const failures: { object: string; error: string }[] = [];
  using host = new RuleHost();
  const { engines, unreadable } = await enginesOf(host, suffix, networks);
  if (unreadable !== undefined) failures.push({ object: "rules in nftables", error: unreadable });
  const slots = engines.flatMap((engine) => [new RuleSlot(engine, 4), new RuleSlot(engine, 6)]);
  for (const slot of slots) {
    try {
      const difference = isDryRun ? await slot.look(nothing) : (await slot.bring(nothing))?.difference;
      removed.push(...(difference ?? []).map((line) => line.slice("- ".length)));
    } catch (error) {
      const hasNothing = slot.foundLines.length === 0 && isAbsentEngine(error);
      if (!hasNothing) failures.push({ object: `rules in ${slot.name}`, error: describeError(error) });
    }
  }
  removed.push(...removeTraces(isDryRun, failures));
  return { removed, failures };
}

/** What a `flannelctl trace` that was killed left, on kernels that do not take it away. */
function removeTraces(isDryRun: boolean, failures: { object: string; error: string }[]): string[] {
  try {
    return removeLeftTraceTables(isDryRun).map((table) => `add table inet ${table}`);
  } catch (error) {
    failures.push({ object: "nf_tables tables of traces", error: describeError(error) });
    return [];
  }
}

interface Engines extends Pick<FoundEngines, "unreadable"> {
  readonly engines: readonly FoundEngines["primary"][];
}

async function enginesOf(host: RuleHost, suffix: string, networks: readonly Prefix[]): Promise<Engines> {
  const network = (family: 4 | 6) => networks.find((candidate) => familyOf(candidate) === family);
  try {
    const found = await findEngines({ host, preferNftables: false, names: ruleNames(suffix), network });
    return { engines: [found.primary, ...found.others], ...(found.unreadable && { unreadable: found.unreadable }) };
  } catch (error) {
    if (hasCode(error, "TOOL_MISSING")) return { engines: [] };
    throw error;
  }
}
