// Transactions: all comparisons see the state before, the chosen branches are checked, then carried out in order.
import {
  type Compare,
  Compare_CompareResult,
  Compare_CompareTarget,
  type KeyValue,
  type RequestOp,
  type ResponseHeader,
  type ResponseOp,
  type TxnRequest,
  type TxnResponse,
} from "../etcd/protocol/etcd.ts";
import { checkRevision, compareNumbers, evaluateRange } from "./evaluate-range.ts";
import { rangeFromWire, singleKey } from "./key-range.ts";
import { checkPutApplies, type RevisionWriter } from "./revision-writer.ts";
import { refusals } from "./rpc-error.ts";
import type { Snapshot } from "./snapshot.ts";

/** A transaction whose comparisons are decided, also those of the transactions in it. */
interface Decided {
  readonly succeeded: boolean;
  readonly operations: readonly RequestOp[];
  /** One for each nested transaction of `operations`, in order. */
  readonly nested: readonly Decided[];
}

/** `request` must have passed checkTxn. Throws refusals before anything is changed. Without header. */
export function runTxn(writer: RevisionWriter, request: TxnRequest): Omit<TxnResponse, "header"> {
  const decided = decide(writer, request);
  checkEach(decided, (operation) => checkPutOperation(writer, operation));
  checkEach(decided, ({ requestRange }) => {
    if (requestRange !== undefined) checkRevision(writer, requestRange.revision);
  });
  return { succeeded: decided.succeeded, responses: carryOut(writer, decided) };
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
  const isPresent = !(put.ignoreValue || put.ignoreLease) || snapshot.count(singleKey(put.key)) > 0n;
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
      const answer = evaluateRange(writer, operation.requestRange);
      response.responseRange = { ...answer, header: innerHeader(writer.revision) };
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

const absent: KeyValue = {
  key: new Uint8Array(0),
  createRevision: 0n,
  modRevision: 0n,
  version: 0n,
  value: new Uint8Array(0),
  lease: 0n,
};

/** Over a range all keys must pass. A missing key has zeros everywhere and no value that could be compared. */
function holds(snapshot: Snapshot, comparison: Compare): boolean {
  const kvs = snapshot.read(rangeFromWire(comparison.key, comparison.rangeEnd), 0n);
  if (kvs.length > 0) return kvs.every((kv) => passes(kv, comparison));
  return comparison.target !== Compare_CompareTarget.VALUE && passes(absent, comparison);
}

function passes(kv: KeyValue, comparison: Compare): boolean {
  const order = compareTarget(kv, comparison);
  switch (comparison.result) {
    case Compare_CompareResult.EQUAL:
      return order === 0;
    case Compare_CompareResult.NOT_EQUAL:
      return order !== 0;
    case Compare_CompareResult.GREATER:
      return order > 0;
    case Compare_CompareResult.LESS:
      return order < 0;
  }
}

function compareTarget(kv: KeyValue, comparison: Compare): number {
  switch (comparison.target) {
    case Compare_CompareTarget.VERSION:
      return compareNumbers(kv.version, comparison.version ?? 0n);
    case Compare_CompareTarget.CREATE:
      return compareNumbers(kv.createRevision, comparison.createRevision ?? 0n);
    case Compare_CompareTarget.MOD:
      return compareNumbers(kv.modRevision, comparison.modRevision ?? 0n);
    case Compare_CompareTarget.VALUE:
      return Buffer.compare(kv.value, comparison.value ?? absent.value);
    case Compare_CompareTarget.LEASE:
      return compareNumbers(kv.lease, comparison.lease ?? 0n);
  }
}
