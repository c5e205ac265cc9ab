// Takes flannel's keys with their values and leases out of one store and into another: etcd or embedded, either way.
import { FlannelError } from "../../errors.ts";
import type { KeyValue } from "../../etcd-api/etcd.ts";
import type { KeySpace } from "../../etcd-api/key-space.ts";
import type { ExportedKey, ExportedStore } from "../store-transfer.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import { putIf } from "./operations.ts";
import { readRange } from "./read-prefix.ts";
import { methods } from "./rpc.ts";

const IN_FLIGHT = 32;

/**
 * Everything of `space` as it was at one revision. Rejects with a FlannelError, `CONFIG_MISSING` when there is
 * nothing: a wrong prefix or store must not pass for a backup.
 */
export async function exportKeys(
  connection: EtcdConnection,
  space: KeySpace,
  signal: AbortSignal,
): Promise<ExportedStore> {
  const { revision, items: keys } = await readRange(
    connection,
    space.rootRange,
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
  if (present.length === 0) throw nothingBelow(space.root);
  return { revision: String(revision), leases, keys: present };
}

/**
 * Writes what is not there yet, and takes the lease off keys that have none in the export: an agent that was faster has
 * turned its reservation into a lease that expires. Leases keep their ids and begin with their full time. May be
 * repeated after an interruption. Throws `CONFIG_CONFLICT`, having written nothing, when a key is there with another
 * value; with `keepsLeases` another host's lease for a subnet stays. Returns the keys of those.
 */
export async function importKeys(
  connection: EtcdConnection,
  space: KeySpace,
  exported: ExportedStore,
  keepsLeases: boolean,
  signal: AbortSignal,
): Promise<string[]> {
  const present = await readPresent(connection, space, signal);
  const kept = new Set<string>();
  const { directory } = space;
  const keepOrRefuse = (key: string) => {
    const isLease = shownKey(key).startsWith(directory);
    if (!isLease || !keepsLeases) throw conflictAt(key, isLease);
    kept.add(key);
  };
  for (const { key, value } of exported.keys) {
    if ((present.get(key)?.value ?? value) !== value) keepOrRefuse(key);
  }
  const missing = exported.keys.filter((entry) => !kept.has(entry.key) && !isThere(entry, present.get(entry.key)));
  const needed = new Set(missing.map(({ lease }) => lease));
  const leases = exported.leases.filter(({ id }) => needed.has(id));
  await eachInFlight(leases, async ({ id, ttlSeconds }) => {
    const lease = { id: BigInt(id), keys: false };
    const { ttl } = await connection.call(methods.leaseTimeToLive, lease, "look up a store lease", signal);
    if (ttl > 0n) return;
    const request = { id: lease.id, ttl: BigInt(ttlSeconds) };
    await connection.call(methods.leaseGrant, request, "grant a store lease", signal);
  });
  await eachInFlight(missing, async (entry) => {
    const isWritten = await writeEntry(connection, entry, present.get(entry.key)?.revision ?? 0n, signal);
    if (!isWritten) keepOrRefuse(entry.key);
  });
  return [...kept].map(shownKey);
}

/** A key as the store has it now. */
interface Present {
  readonly value: string;
  readonly expires: boolean;
  readonly revision: bigint;
}

function presentOf({ value, lease, modRevision }: KeyValue): Present {
  return { value: Buffer.from(value).toString("latin1"), expires: lease !== 0n, revision: modRevision };
}

async function readPresent(
  connection: EtcdConnection,
  space: KeySpace,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Present>> {
  const { items } = await readRange(
    connection,
    space.rootRange,
    (kv) => [Buffer.from(kv.key).toString("latin1"), presentOf(kv)] as const,
    signal,
  );
  return new Map(items);
}

/** With whatever lease, where the export has one: that of an agent that is alive is the better one. */
function isThere({ value, lease }: ExportedKey, present: Present | undefined): boolean {
  return present !== undefined && present.value === value && (lease !== undefined || !present.expires);
}

/** `expectedRevision`: of the key as it was seen last; 0n: it was not there. False: it has got another value. */
async function writeEntry(
  connection: EtcdConnection,
  entry: ExportedKey,
  expectedRevision: bigint,
  signal: AbortSignal,
): Promise<boolean> {
  const key = Buffer.from(entry.key, "latin1");
  const value = Buffer.from(entry.value, "latin1");
  const storeLeaseId = BigInt(entry.lease ?? 0);
  const put = { key, value, storeLeaseId, expectedRevision, operation: `write ${shownKey(entry.key)}` };
  const outcome = await putIf(connection, put, signal);
  if (outcome.isDone) return true;
  const present = outcome.current && presentOf(outcome.current);
  if (present !== undefined && present.value !== entry.value) return false;
  if (isThere(entry, present)) return true;
  // An agent wrote or lost its lease meanwhile.
  return writeEntry(connection, entry, present?.revision ?? 0n, signal);
}

/** Of an export, for a message. */
function shownKey(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString();
}

function conflictAt(key: string, isLease: boolean): FlannelError {
  const cure = isLease ? "keep that lease with --keep-leases" : "delete that key first";
  const message = `the store already has another value at ${shownKey(key)}: import into an empty one, or ${cure}`;
  return new FlannelError("CONFIG_CONFLICT", message);
}

function nothingBelow(root: string): FlannelError {
  const next = "check that --etcd-prefix and --etcd-endpoints are those of the agents";
  return new FlannelError("CONFIG_MISSING", `the store has no keys below ${root}, and nothing was written: ${next}`);
}

async function eachInFlight<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}
