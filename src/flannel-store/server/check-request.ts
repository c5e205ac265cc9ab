// Refuses malformed writes and transactions before anything is done, in etcd's order and words. Pure.
import {
  type PutRequest,
  type RangeRequest,
  RangeRequest_SortTarget,
  type RequestOp,
  type TxnRequest,
} from "../../etcd-api/etcd.ts";
import { grpcStatus, RpcError, refusals } from "../grpc/rpc-error.ts";
import { isInRange, type KeyRange, rangeFromWire } from "./key-range.ts";

/** Of comparisons, and of operations in either branch; nested ones count into their parent's. */
const MAX_TXN_OPERATIONS = 128;

/** Of the values that one write may give back, or compare: they are in memory all at once, beside those of others. */
const MAX_WRITE_ANSWER_BYTES = 4 * 1024 * 1024;

export function checkAnswerBytes(bytes: number): void {
  if (bytes <= MAX_WRITE_ANSWER_BYTES) return;
  throw new RpcError(
    grpcStatus.resourceExhausted,
    `flannel-store: the values that this transaction or deletion reads have more than ${MAX_WRITE_ANSWER_BYTES / 1024 ** 2} MiB: read them with a range request`,
  );
}

export function checkKey({ key }: { readonly key: Uint8Array }): void {
  if (key.length === 0) throw refusals.emptyKey();
}

/** The wire lets any number through. */
const sortTargets: ReadonlySet<number> = new Set(Object.values(RangeRequest_SortTarget));

export function checkRange(request: RangeRequest): void {
  checkKey(request);
  if (!sortTargets.has(request.sortTarget)) throw refusals.invalidSortOption();
}

export function checkPut(request: PutRequest): void {
  checkKey(request);
  if (request.ignoreValue && request.value.length > 0) throw refusals.valueProvided();
  if (request.ignoreLease && request.lease !== 0n) throw refusals.leaseProvided();
}

export function checkTxn(request: TxnRequest): void {
  checkOperations(request, MAX_TXN_OPERATIONS);
  collectIntervals(request.success);
  collectIntervals(request.failure);
}

function checkOperations({ compare, success, failure }: TxnRequest, maxOperations: number): void {
  const operations = Math.max(compare.length, success.length, failure.length);
  if (operations > maxOperations) throw refusals.tooManyOperations();
  compare.forEach(checkKey);
  for (const operation of [...success, ...failure]) checkOperation(operation, maxOperations - operations);
}

function checkOperation(operation: RequestOp, maxOperations: number): void {
  if (operation.requestRange !== undefined) checkRange(operation.requestRange);
  else if (operation.requestPut !== undefined) checkPut(operation.requestPut);
  else if (operation.requestDeleteRange !== undefined) checkKey(operation.requestDeleteRange);
  else if (operation.requestTxn !== undefined) checkOperations(operation.requestTxn, maxOperations);
  else throw refusals.keyNotFound();
}

interface Intervals {
  /** Keys as latin1 text. */
  readonly puts: ReadonlySet<string>;
  readonly deletes: readonly KeyRange[];
}

/** Throws `duplicateKey` when two puts, or a put and a deletion, of one branch meet. */
function collectIntervals(operations: readonly RequestOp[]): Intervals {
  const deletes = operations.flatMap(({ requestDeleteRange: request }) =>
    request === undefined ? [] : [rangeFromWire(request.key, request.rangeEnd)],
  );
  const puts = new Set<string>();
  for (const { requestTxn } of operations) {
    if (requestTxn !== undefined) mergeNested(requestTxn, puts, deletes);
  }
  for (const { requestPut } of operations) {
    if (requestPut !== undefined) addPut(Buffer.from(requestPut.key).toString("latin1"), puts, deletes);
  }
  return { puts, deletes };
}

/** Only one branch of a nested transaction happens: both may put the same key. */
function mergeNested({ success, failure }: TxnRequest, puts: Set<string>, deletes: KeyRange[]): void {
  const then = collectIntervals(success);
  const otherwise = collectIntervals(failure);
  for (const key of then.puts) addPut(key, puts, deletes);
  for (const key of otherwise.puts) {
    if (then.puts.has(key)) checkDeletes(key, deletes);
    else addPut(key, puts, deletes);
  }
  deletes.push(...then.deletes, ...otherwise.deletes);
}

function addPut(key: string, puts: Set<string>, deletes: readonly KeyRange[]): void {
  if (puts.has(key)) throw refusals.duplicateKey();
  checkDeletes(key, deletes);
  puts.add(key);
}

function checkDeletes(key: string, deletes: readonly KeyRange[]): void {
  const bytes = Buffer.from(key, "latin1");
  if (deletes.some((range) => isInRange(bytes, range))) throw refusals.duplicateKey();
}
