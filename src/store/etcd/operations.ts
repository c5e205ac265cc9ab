// The few etcd requests flannel is made of, typed: conditional writes, store leases, reading one key.
import { FlannelError } from "../../errors.ts";
import {
  Compare,
  Compare_CompareResult,
  Compare_CompareTarget,
  type KeyValue,
  RangeRequest,
  RequestOp,
  TxnRequest,
  type TxnResponse,
} from "../../etcd-api/etcd.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import { methods } from "./rpc.ts";

export interface ConditionalWrite {
  /** Bytes where they may be no text. */
  readonly key: string | Uint8Array;
  /** The write happens only while the key's last revision is this one; 0n: only while there is no such key. */
  readonly expectedRevision: bigint;
  /** Names the attempt in errors. */
  readonly operation: string;
}

export interface ConditionalPut extends ConditionalWrite {
  readonly value: string | Uint8Array;
  /** 0n: the key never expires. */
  readonly storeLeaseId: bigint;
}

export type ConditionalOutcome =
  | { readonly isDone: true; readonly revision: bigint }
  /** Another writer was faster; `current` is what stands there now, undefined when the key is gone. */
  | { readonly isDone: false; readonly current: KeyValue | undefined };

export async function putIf(
  connection: EtcdConnection,
  put: ConditionalPut,
  signal: AbortSignal,
): Promise<ConditionalOutcome> {
  const value = bytesOf(put.value);
  const request = RequestOp.fromPartial({
    requestPut: { key: bytesOf(put.key), value, lease: put.storeLeaseId },
  });
  const outcome = await writeIf(connection, put, request, signal);
  if (outcome.isDone || outcome.current === undefined) return outcome;
  // Fail-over may have sent this very write twice: then what stands there is ours.
  const { current } = outcome;
  const isOurs =
    current.lease === put.storeLeaseId && value.equals(current.value) && current.modRevision > put.expectedRevision;
  return isOurs ? { isDone: true, revision: current.modRevision } : outcome;
}

/**
 * Deletes the key `from` and creates the key of `put`, at one revision: nobody sees a moment with both or without either.
 * `current` is what stands at the new key, undefined when the old one was written or deleted meanwhile.
 */
export async function moveIf(
  connection: EtcdConnection,
  from: Pick<ConditionalWrite, "key" | "expectedRevision">,
  put: Omit<ConditionalPut, "expectedRevision">,
  signal: AbortSignal,
): Promise<ConditionalOutcome> {
  const [oldKey, key, value] = [from.key, put.key, put.value].map(bytesOf) as [Buffer, Buffer, Buffer];
  const target = Compare_CompareTarget.MOD;
  const request = TxnRequest.fromPartial({
    compare: [
      Compare.fromPartial({ target, key: oldKey, modRevision: from.expectedRevision }),
      Compare.fromPartial({ target, key, modRevision: 0n }),
    ],
    success: [{ requestDeleteRange: { key: oldKey } }, { requestPut: { key, value, lease: put.storeLeaseId } }],
    failure: [{ requestRange: { key } }],
  });
  const response: TxnResponse = await connection.call(methods.txn, request, put.operation, signal);
  if (response.succeeded) return { isDone: true, revision: response.header?.revision ?? 0n };
  const current = response.responses[0]?.responseRange?.kvs[0];
  // Fail-over may have sent this very write twice: then what stands there is ours.
  const isOurs = current !== undefined && current.lease === put.storeLeaseId && value.equals(current.value);
  return isOurs ? { isDone: true, revision: current.modRevision } : { isDone: false, current };
}

/**
 * Asks for a write that can never happen, since no revision is below 0: rights, space and quorum are judged all the same, before
 * the comparison. Rejects as the write would; writes nothing.
 */
export async function tryPut(connection: EtcdConnection, keyText: string, signal: AbortSignal): Promise<void> {
  const key = bytesOf(keyText);
  const { LESS } = Compare_CompareResult;
  const request = TxnRequest.fromPartial({
    compare: [Compare.fromPartial({ target: Compare_CompareTarget.MOD, result: LESS, key, modRevision: 0n })],
    success: [{ requestPut: { key, ignoreValue: true, ignoreLease: true } }],
  });
  await connection.call(methods.txn, request, `write ${keyText}`, signal);
}

export function deleteIf(
  connection: EtcdConnection,
  write: ConditionalWrite,
  signal: AbortSignal,
): Promise<ConditionalOutcome> {
  const request = RequestOp.fromPartial({ requestDeleteRange: { key: bytesOf(write.key) } });
  return writeIf(connection, write, request, signal);
}

/** Reads the key, `isDone` when it still has the expected revision. */
export function checkRevision(
  connection: EtcdConnection,
  write: ConditionalWrite,
  signal: AbortSignal,
): Promise<ConditionalOutcome> {
  return writeIf(connection, write, undefined, signal);
}

function bytesOf(content: string | Uint8Array): Buffer {
  return typeof content === "string" ? Buffer.from(content) : Buffer.from(content);
}

async function writeIf(
  connection: EtcdConnection,
  { key: keyText, expectedRevision, operation }: ConditionalWrite,
  write: RequestOp | undefined,
  signal: AbortSignal,
): Promise<ConditionalOutcome> {
  const key = bytesOf(keyText);
  const request = TxnRequest.fromPartial({
    compare: [Compare.fromPartial({ target: Compare_CompareTarget.MOD, key, modRevision: expectedRevision })],
    success: write === undefined ? [] : [write],
    failure: [{ requestRange: { key } }],
  });
  const response: TxnResponse = await connection.call(methods.txn, request, operation, signal);
  if (!response.succeeded) return { isDone: false, current: response.responses[0]?.responseRange?.kvs[0] };
  return { isDone: true, revision: write === undefined ? expectedRevision : (response.header?.revision ?? 0n) };
}

/**
 * The key as it is now, with the store's revision and what tells it from others. `serializable`: as the member itself has
 * it.
 */
export async function readKey(
  connection: EtcdConnection,
  key: string,
  operation: string,
  signal: AbortSignal,
  serializable = false,
) {
  const request = RangeRequest.fromPartial({ key: Buffer.from(key), serializable });
  const response = await connection.call(methods.range, request, operation, signal);
  const { revision = 0n, clusterId = 0n, raftTerm = 0n } = response.header ?? {};
  return { kv: response.kvs[0], revision, clusterId, raftTerm };
}

export interface StoreLease {
  readonly id: bigint;
  /** Wall-clock ms; counted from before the request, so never later than the store's own. */
  readonly expiresAtMs: number;
}

export async function grantStoreLease(
  connection: EtcdConnection,
  ttlSeconds: number,
  signal: AbortSignal,
): Promise<StoreLease> {
  const askedAtMs = Date.now();
  const request = { ttl: BigInt(ttlSeconds), id: 0n };
  const { id, ttl, error } = await connection.call(methods.leaseGrant, request, "request a store lease", signal);
  if (error !== "")
    throw new FlannelError("STORE_UNAVAILABLE", `etcd refused to grant a store lease: ${error}`, { retryable: true });
  return { id, expiresAtMs: askedAtMs + Number(ttl) * 1_000 };
}

/** Gives the lease its full time again; undefined when the store no longer knows it. */
export async function keepStoreLeaseAlive(
  connection: EtcdConnection,
  id: bigint,
  signal: AbortSignal,
): Promise<StoreLease | undefined> {
  const askedAtMs = Date.now();
  const { ttl } = await connection.callStreamOnce(methods.leaseKeepAlive, { id }, "renew the store lease", signal);
  return ttl > 0n ? { id, expiresAtMs: askedAtMs + Number(ttl) * 1_000 } : undefined;
}

/**
 * Revokes a lease we were granted and do not need; keys on it are deleted. Best effort: it would expire anyway.
 * Goes on when the caller is cancelled, for at most the time of a call.
 */
export async function revokeStoreLease(connection: EtcdConnection, id: bigint): Promise<void> {
  const signal = AbortSignal.timeout(connection.timings.callTimeoutMs);
  await connection.call(methods.leaseRevoke, { id }, "revoke the store lease", signal).catch(() => undefined);
}
