// Takes flannel's keys with their values and leases out of one store and into another: etcd or embedded, either way.
import { FlannelError } from "../../errors.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import { prefixRange } from "./key-space.ts";
import { putIf } from "./operations.ts";
import { readRange } from "./read-prefix.ts";
import { methods } from "./rpc.ts";

/** All bytes are latin1 text, so that JSON keeps them exactly. */
export interface ExportedKey {
  readonly key: string;
  readonly value: string;
  /** Missing: the key never expires. */
  readonly lease?: string;
}

export interface ExportedStore {
  readonly revision: string;
  readonly leases: readonly { readonly id: string; readonly ttlSeconds: number }[];
  readonly keys: readonly ExportedKey[];
}

const IN_FLIGHT = 32;

/** Everything below `prefix` as it was at one revision. Rejects with a FlannelError. */
export async function exportKeys(
  connection: EtcdConnection,
  prefix: string,
  signal: AbortSignal,
): Promise<ExportedStore> {
  const { revision, items: keys } = await readRange(
    connection,
    prefixRange(`${prefix}/`),
    ({ key, value, lease }): ExportedKey => ({
      key: Buffer.from(key).toString("latin1"),
      value: Buffer.from(value).toString("latin1"),
      ...(lease !== 0n && { lease: String(lease) }),
    }),
    signal,
  );
  const ids = [...new Set(keys.flatMap(({ lease }) => lease ?? []))];
  const leases: { id: string; ttlSeconds: number }[] = [];
  await eachInFlight(ids, async (id) => {
    const request = { id: BigInt(id), keys: false };
    const { ttl, grantedTtl } = await connection.call(methods.leaseTimeToLive, request, "read a store lease", signal);
    if (ttl > 0n) leases.push({ id, ttlSeconds: Number(grantedTtl) });
  });
  const alive = new Set(leases.map(({ id }) => id));
  // What expired between the two reads is gone.
  const present = keys.filter(({ lease }) => lease === undefined || alive.has(lease));
  return { revision: String(revision), leases, keys: present };
}

/**
 * Writes what is not there yet; leases keep their ids and begin with their full time. May be repeated after an
 * interruption. Throws `config.conflict`, having written nothing, when a key is there with another value.
 */
export async function importKeys(
  connection: EtcdConnection,
  prefix: string,
  exported: ExportedStore,
  signal: AbortSignal,
): Promise<void> {
  const present = await exportKeys(connection, prefix, signal);
  const known = new Map(present.keys.map(({ key, value }) => [key, value]));
  const conflict = exported.keys.find(({ key, value }) => known.has(key) && known.get(key) !== value);
  if (conflict !== undefined) throw conflictAt(conflict.key);
  await eachInFlight(exported.leases, async ({ id, ttlSeconds }) => {
    const lease = { id: BigInt(id), keys: false };
    const { ttl } = await connection.call(methods.leaseTimeToLive, lease, "look for a store lease", signal);
    if (ttl > 0n) return;
    const request = { id: lease.id, ttl: BigInt(ttlSeconds) };
    await connection.call(methods.leaseGrant, request, "grant a store lease", signal);
  });
  const missing = exported.keys.filter(({ key }) => !known.has(key));
  await eachInFlight(missing, async ({ key: latin1, value: latin1Value, lease }) => {
    const key = Buffer.from(latin1, "latin1");
    const value = Buffer.from(latin1Value, "latin1");
    const put = { key, value, storeLeaseId: BigInt(lease ?? 0), expectedRevision: 0n, operation: `write ${latin1}` };
    const { isDone } = await putIf(connection, put, signal);
    if (!isDone) throw conflictAt(latin1);
  });
}

function conflictAt(key: string): FlannelError {
  const message = `the store already has another value at ${key}: import into an empty one, or delete that key first`;
  return new FlannelError("config.conflict", message);
}

async function eachInFlight<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}
