// The administrator may write everything. What it writes for others stays theirs, unless it is given to other addresses.
import type { RequestOp } from "../../etcd-api/etcd.ts";
import type { CallerRights } from "../server/caller-rights.ts";
import type { Database } from "../server/database.ts";
import { Owners } from "../server/owners.ts";
import type { RevisionWriter } from "../server/revision-writer.ts";
import { announcedBy, readLeaseEntry, tryParseValue } from "./lease-entry.ts";

/** As owner of store leases; no key pin looks so. */
const ADMINISTRATOR = "administrator";

export const administratorRights: CallerRights = {
  write<T>({ database }: RevisionWriter, operations: readonly RequestOp[], run: () => T): T {
    const given = operations.flatMap(({ requestPut }) => requestPut ?? []).filter((put) => isGivenAway(database, put));
    const result = run();
    for (const { key } of given) new Owners(database).forgetKey(key);
    return result;
  },
  grantedTtl: (_, ttlSeconds) => ttlSeconds,
  granted({ database }, id) {
    new Owners(database).noteLease(id, ADMINISTRATOR);
    return [];
  },
  checkRevoke: () => undefined,
  checkKeepAlive: () => "known",
  noteKept: () => undefined,
};

function isGivenAway(
  database: Database,
  { key, value, ignoreValue }: { readonly key: Uint8Array; readonly value: Uint8Array; readonly ignoreValue: boolean },
): boolean {
  if (ignoreValue) return false;
  const entry = readLeaseEntry(database, key);
  if (entry?.owner === undefined) return false;
  const attributes = tryParseValue(value);
  const addresses = attributes === undefined ? [] : announcedBy(attributes);
  return addresses.length !== entry.addresses.length || entry.addresses.some((address) => !addresses.includes(address));
}
