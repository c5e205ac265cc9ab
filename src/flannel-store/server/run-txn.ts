// Transactions: all comparisons see the state before, the chosen branches are checked, then carried out in order.
import {
  type Compare,
  Compare_CompareResult,
  Compare_CompareTarget,
  type KeyValue,
  type PutRequest,
  type RequestOp,
  type ResponseHeader,
  type ResponseOp,
  type TxnRequest,
  type TxnResponse,
} from "../../etcd-api/etcd.ts";
import { refusals } from "../grpc/rpc-error.ts";
import { revisionOf } from "./change.ts";
import { checkAnswerBytes } from "./check-request.ts";
import { checkRevision, compareNumbers, evaluateRange, measureRange } from "./evaluate-range.ts";
import { rangeFromWire } from "./key-range.ts";
import { unframeKeyValues } from "./key-value-frames.ts";
import { putBytes } from "./quota.ts";
import { checkPutApplies, type RevisionWriter } from "./revision-writer.ts";
import type { Snapshot } from "./snapshot.ts";

const nothing = new Uint8Array(0);

/** A transaction whose comparisons are decided, also those of the transactions in it. */
interface Decided {
  readonly succeeded: boolean;
  readonly operations: readonly RequestOp[];
  /** One for each nested transaction of `operations`, in order. */
  readonly nested: readonly Decided[];
}

/** What a write asks its surroundings. */
export interface WriteContext {
  /** Told how many bytes the values in the answer have; what it throws refuses the write. */
  readonly reserve: (bytes: number) => void;
  /** Carries out, by `run`, what is about to happen; what it throws before refuses the write. */
  readonly permit: <T>(operations: readonly RequestOp[], run: () => T) => T;
}

/** `request` must have passed checkTxn. Throws refusals before anything is changed. Without header. */
export function runTxn(
  writer: RevisionWriter,
  request: TxnRequest,
  { reserve, permit }: WriteContext,
): Omit<TxnResponse, "header"> {
  const decided = decide(writer, request);
  const operations: RequestOp[] = [];
  checkEach(decided, (operation) => operations.push(operation));
  checkEach(decided, (operation) => checkPutOperation(writer, operation));
  checkEach(decided, ({ requestRange }) => {
    if (requestRange !== undefined) checkRevision(writer, requestRange.revision);
  });
  let bytes = 0;
  checkEach(decided, (operation) => {
    bytes += answeredBytes(writer, operation);
    checkAnswerBytes(bytes);
  });
  reserve(bytes);
  const puts = operations.flatMap(({ requestPut }) => requestPut ?? []);
  return {
    succeeded: decided.succeeded,
    responses: permit(operations, () => {
      takeRoomFor(writer, puts);
      return carryOut(writer, decided);
    }),
  };
}

/** For all of them or none; what only deletes and reads needs no room. Throws `noSpace`. */
export function takeRoomFor(writer: RevisionWriter, puts: readonly PutRequest[]): void {
  if (puts.length > 0) writer.takeRoom(puts.reduce((bytes, put) => bytes + putBytes(put), 0));
}

/** Of the values that the operation gives back. */
function answeredBytes(snapshot: Snapshot, { requestRange, requestPut, requestDeleteRange }: RequestOp): number {
  if (requestRange !== undefined) return Number(measureRange(snapshot, requestRange).bytes);
  const request = requestPut?.prevKv === true ? { ...requestPut, rangeEnd: nothing } : requestDeleteRange;
  if (request?.prevKv !== true) return 0;
  return Number(snapshot.measure(rangeFromWire(request.key, request.rangeEnd), 0n).bytes);
}

function decide(snapshot: Snapshot, { compare, success, failure }: TxnRequest): Decided {
  const succeeded = compare.every((comparison) => holds(snapshot, comparison));
  const operations = succeeded ? success : failure;
  const nested = operations.flatMap(({ requestTxn }) =>
    requestTxn === undefined ? [] : [decide(snapshot, requestTxn)],
  );
  return { succeeded, operations, nested };
}

function checkEach({ operations, nested }: Decided, check: (operation: RequestOp) => void): void {
  const inner = nested.values();
  for (const operation of operations) {
    if (operation.requestTxn === undefined) check(operation);
    else checkEach(nextOf(inner), check);
  }
}

function checkPutOperation(snapshot: Snapshot, { requestPut: put }: RequestOp): void {
  if (put === undefined) return;
  const isPresent = !(put.ignoreValue || put.ignoreLease) || snapshot.state(put.key) !== undefined;
  // In a transaction etcd looks for the key first.
  if (!isPresent) throw refusals.keyNotFound();
  checkPutApplies(snapshot, put, isPresent);
}

function carryOut(writer: RevisionWriter, { operations, nested }: Decided): ResponseOp[] {
  const inner = nested.values();
  return operations.map((operation) => {
    const response: ResponseOp = {
      responseRange: undefined,
      responsePut: undefined,
      responseDeleteRange: undefined,
      responseTxn: undefined,
    };
    if (operation.requestRange !== undefined) {
      const { frames, more, count } = evaluateRange(writer, operation.requestRange);
      const kvs = unframeKeyValues(frames);
      response.responseRange = { kvs, more, count, header: innerHeader(writer.revision) };
    } else if (operation.requestPut !== undefined) {
      const answer = writer.put(operation.requestPut);
      response.responsePut = { ...answer, header: innerHeader(writer.revision) };
    } else if (operation.requestDeleteRange !== undefined) {
      const answer = writer.deleteRange(operation.requestDeleteRange);
      response.responseDeleteRange = { ...answer, header: innerHeader(writer.revision) };
    } else {
      const decided = nextOf(inner);
      const responses = carryOut(writer, decided);
      response.responseTxn = { succeeded: decided.succeeded, responses, header: innerHeader(0n) };
    }
    return response;
  });
}

/** In a transaction only the outer answer names the server. */
function innerHeader(revision: bigint): ResponseHeader {
  return { clusterId: 0n, memberId: 0n, revision, raftTerm: 0n };
}

function nextOf(decided: Iterator<Decided, undefined>): Decided {
  const { value } = decided.next();
  if (value === undefined) throw new RangeError("no decision for a nested transaction");
  return value;
}

type Compared = Omit<KeyValue, "key" | "value">;

const absent: Compared = { createRevision: 0n, modRevision: 0n, version: 0n, lease: 0n };

/** Over a range all keys must pass. A missing key has zeros everywhere and no value that could be compared. */
function holds(snapshot: Snapshot, comparison: Compare): boolean {
  if (comparison.target === Compare_CompareTarget.VALUE) {
    const kvs = present(snapshot, comparison);
    return kvs.length > 0 && kvs.every((kv) => passes(Buffer.compare(kv.value, operandOf(comparison)), comparison));
  }
  // Whoever takes a lease compares one key's version or revision: no need to read its value.
  const compared =
    comparison.rangeEnd.length === 0 ? [stateOf(snapshot, comparison.key)] : present(snapshot, comparison);
  return (compared.length === 0 ? [absent] : compared).every((kv) => passes(compareTarget(kv, comparison), comparison));
}

function present(snapshot: Snapshot, { key, rangeEnd }: Compare): readonly KeyValue[] {
  const range = rangeFromWire(key, rangeEnd);
  if (rangeEnd.length > 0) checkAnswerBytes(Number(snapshot.measure(range, 0n).bytes));
  return unframeKeyValues(snapshot.read(range, 0n).frames);
}

function stateOf(snapshot: Snapshot, key: Uint8Array): Compared {
  const state = snapshot.state(key);
  return state === undefined ? absent : { ...state, modRevision: revisionOf(state.number) };
}

function operandOf({ value }: Compare): Uint8Array {
  return value ?? new Uint8Array(0);
}

function passes(order: number, { result }: Compare): boolean {
  switch (result) {
    case Compare_CompareResult.EQUAL:
      return order === 0;
    case Compare_CompareResult.NOT_EQUAL:
      return order !== 0;
    case Compare_CompareResult.GREATER:
      return order > 0;
    case Compare_CompareResult.LESS:
      return order < 0;
    // As etcd answers what it does not know.
    default:
      return true;
  }
}

function compareTarget(kv: Compared, comparison: Compare): number {
  switch (comparison.target) {
    case Compare_CompareTarget.VERSION:
      return compareNumbers(kv.version, comparison.version ?? 0n);
    case Compare_CompareTarget.CREATE:
      return compareNumbers(kv.createRevision, comparison.createRevision ?? 0n);
    case Compare_CompareTarget.MOD:
      return compareNumbers(kv.modRevision, comparison.modRevision ?? 0n);
    case Compare_CompareTarget.LEASE:
      return compareNumbers(kv.lease, comparison.lease ?? 0n);
    // An unknown target, which is equal in etcd: values do not come here.
    default:
      return 0;
  }
}
