// Every cause of trouble that is known by name, in the order of suspicion: what is further down is often only what something
// further up brings about.
import type { Cause } from "./cause.ts";
import { containerCauses } from "./causes/container-causes.ts";
import { controlCauses } from "./causes/control-causes.ts";
import { hostCauses } from "./causes/host-causes.ts";
import { ruleCauses } from "./causes/rule-causes.ts";
import { wayCauses } from "./causes/way-causes.ts";

const { "lost-on-this-host": lost, "peer-unreachable": unexplained, ...ways } = wayCauses;

/** Names are stable: people and programs look for them. */
export const causes = {
  ...hostCauses,
  ...ways,
  ...ruleCauses,
  ...containerCauses,
  ...controlCauses,
  "lost-on-this-host": lost,
  "peer-unreachable": unexplained,
} as const satisfies Record<string, Cause>;

export type CauseName = keyof typeof causes;

export const causeNames = Object.keys(causes) as readonly CauseName[];

const ranks: ReadonlyMap<string, number> = new Map(causeNames.map((name, index) => [name, index]));

/** Smaller: more likely to be the root of others. */
export function suspicionRank(name: string): number {
  return ranks.get(name) ?? causeNames.length;
}

export function causeOf(name: string): Cause | undefined {
  return Object.hasOwn(causes, name) ? causes[name as CauseName] : undefined;
}
