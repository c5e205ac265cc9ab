// The identities this host keeps, each known only to its backend: restored at the start, looked for in leases, and in the
// form in which the state file holds them. Pure.
import { FlannelError } from "../errors.ts";
import { isRecord } from "../json/untyped-fields.ts";
import type { LeaseAttributes } from "../lease/lease.ts";
import type { BackendModule, IdentityFacts } from "./backend.ts";

/** By type of the backend. Those of backends not in use stay: a network may return to one. */
export type Identities = Readonly<Record<string, unknown>>;

/** As JSON. */
export const MAX_IDENTITY_CHARACTERS = 4_096;

/**
 * The identities to go on with while the backend of type `inUse` is: its own is made when there is none. Throws
 * `INTERNAL` for one that is too large to be kept.
 */
export function restoreIdentities(
  modules: readonly BackendModule[],
  inUse: string,
  remembered: Identities,
  facts: IdentityFacts,
): Identities {
  const identities: Record<string, unknown> = {};
  for (const { type, identity } of modules) {
    if (identity === undefined) continue;
    if (type === inUse || identity.legacyFields !== undefined) {
      identities[type] = checked(type, identity.restore(remembered[type], facts));
    } else if (remembered[type] !== undefined) identities[type] = remembered[type];
  }
  return identities;
}

/** What is known of this host's identities from what it announced before it lost its state. */
export function announcedIdentities(
  modules: readonly BackendModule[],
  announced: LeaseAttributes | undefined,
): Identities {
  const module = modules.find(({ type }) => type === announced?.backendType);
  if (announced === undefined || module?.identity?.ofAnnounced === undefined) return {};
  return { [module.type]: module.identity.ofAnnounced(announced) };
}

/** Whether a lease announces one of our identities. */
export function matchesIdentity(
  modules: readonly BackendModule[],
  identities: Identities,
  attributes: LeaseAttributes,
): boolean {
  return modules.some(
    ({ type, identity }) =>
      identity !== undefined && identities[type] !== undefined && identity.matches(identities[type], attributes),
  );
}

/** What the state file holds of the identities, among its other fields. */
export function identityFields(modules: readonly BackendModule[], identities: Identities): Record<string, unknown> {
  const legacy = modules.flatMap(({ type, identity }) => {
    const record = identities[type];
    return isRecord(record) ? (identity?.legacyFields ?? []).map((field) => [field, record[field]] as const) : [];
  });
  return { ...Object.fromEntries(legacy), identities };
}

/** The identities in a state file's fields, unchecked but bounded: `restore` judges them. */
export function readIdentityFields(
  modules: readonly BackendModule[],
  fields: Readonly<Record<string, unknown>>,
): Identities {
  const { identities: records } = fields;
  const identities: Record<string, unknown> = {};
  for (const { type, identity } of modules) {
    const record = isRecord(records) ? records[type] : undefined;
    const found = record ?? legacyRecord(identity?.legacyFields ?? [], fields);
    if (identity !== undefined && found !== undefined && isSmall(found)) identities[type] = found;
  }
  return identities;
}

function legacyRecord(names: readonly string[], fields: Readonly<Record<string, unknown>>): unknown {
  const found = names.filter((name) => fields[name] !== undefined);
  return found.length === 0 ? undefined : Object.fromEntries(found.map((name) => [name, fields[name]]));
}

function checked(type: string, identity: unknown): unknown {
  if (isSmall(identity)) return identity;
  throw new FlannelError("INTERNAL", `the identity of the ${type} backend is too large to save`);
}

function isSmall(identity: unknown): boolean {
  return JSON.stringify(identity).length <= MAX_IDENTITY_CHARACTERS;
}
