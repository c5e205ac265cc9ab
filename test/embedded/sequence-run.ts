// Carries a random sequence out on one server and gives back what can be compared: answers and watches, with revisions
// relative to the start.
import {
  CompactionRequest,
  Compare,
  DeleteRangeRequest,
  type KeyValue,
  PutRequest,
  RangeRequest,
  type RangeResponse,
  RequestOp,
  TxnRequest,
  type TxnResponse,
  WatchRequest,
} from "../../src/etcd-api/etcd.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import type {
  CompareChoice,
  InnerOperation,
  Operation,
  RangeOperation,
  Step,
  WatchOperation,
} from "./random-operations.ts";
import { type Answer, StoreClient, type WatchRecorder } from "./store-client.ts";

const everything = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };

/** The clients of one server, kept from sequence to sequence. */
export class ServerUnderTest implements Disposable {
  readonly #clients: readonly StoreClient[];
  #watches: readonly WatchRecorder[] = [];
  /** A watch of the past was created: etcd gets to it within a tenth of a second, and nothing says when it has. */
  hasPastWatch = false;
  #base = 0n;
  #compacted = 0n;
  /** The n-th sequence: its leases are n * 10 + 1 and so on. */
  #sequence = 0n;

  constructor(endpoint: string, clients: number) {
    this.#clients = Array.from({ length: clients }, () => new StoreClient(endpoint));
  }

  /** Empties the store; what happens now counts from here. */
  async begin(): Promise<void> {
    this.end();
    const [client] = this.#clients;
    if (client === undefined) return;
    const { leases } = await client.call(methods.leaseLeases, {});
    for (const { id } of leases) await client.call(methods.leaseRevoke, { id });
    await client.call(methods.put, PutRequest.fromPartial({ key: Buffer.from("start") }));
    const deleted = await client.call(methods.deleteRange, DeleteRangeRequest.fromPartial(everything));
    this.#base = deleted.header?.revision ?? 0n;
    this.#compacted = 0n;
    this.hasPastWatch = false;
    this.#sequence++;
    this.#watches = this.#clients.map((each) => each.watch());
  }

  end(): void {
    for (const watch of this.#watches) watch[Symbol.dispose]();
    this.#watches = [];
  }

  async carryOut({ client: index, operation }: Step): Promise<unknown> {
    const client = this.#clients[index];
    const watch = this.#watches[index];
    if (client === undefined || watch === undefined) throw new RangeError(`no client ${index}`);
    return this.#relative(await this.#send(client, watch, operation));
  }

  /** Per client and watcher: events, and the other answers. */
  watched(): unknown {
    return this.#watches.map(({ byWatcher, oddities }) => ({
      oddities,
      watchers: [...byWatcher]
        .sort(([a], [b]) => Number(a - b))
        .map(([id, { notes, events }]) => ({
          id,
          notes: notes.map(({ created, canceled, compactRevision, cancelReason, header }) => ({
            created,
            canceled,
            cancelReason,
            compactRevision: compactRevision === 0n ? "none" : compactRevision - this.#base,
            // Of a compacted watch etcd says nothing about the present.
            revision: compactRevision === 0n ? (header?.revision ?? 0n) - this.#base : "any",
          })),
          events: this.#relative(events),
        })),
    }));
  }

  [Symbol.dispose](): void {
    this.end();
    for (const client of this.#clients) client[Symbol.dispose]();
  }

  async #send(client: StoreClient, watch: WatchRecorder, operation: Operation): Promise<unknown> {
    switch (operation.type) {
      case "range":
        return normaliseRange(operation, await client.ask(methods.range, this.#range(operation)));
      case "put":
        return await client.ask(methods.put, this.#put(operation));
      case "delete":
        return await client.ask(methods.deleteRange, deleteRequest(operation));
      case "txn":
        return normaliseTxn(operation, await client.ask(methods.txn, this.#txn(operation)));
      case "watch":
        return await this.#watch(watch, operation);
      case "cancel":
        return await this.#cancel(watch, BigInt(operation.id));
      case "compact":
        return await this.#compact(client, operation.revision, operation.physical);
      default:
        return await this.#sendLease(client, operation);
    }
  }

  async #sendLease(client: StoreClient, operation: Extract<Operation, { lease: number } | { type: "leases" }>) {
    if (operation.type === "leases") {
      const { leases } = await client.call(methods.leaseLeases, {});
      return leases.map((lease) => lease.id % 10n).sort();
    }
    if (!("lease" in operation)) return undefined;
    const id = this.#lease(operation.lease);
    switch (operation.type) {
      case "grant":
        return hideLease(await client.ask(methods.leaseGrant, { id, ttl: BigInt(operation.ttl) }));
      case "revoke":
        return await client.ask(methods.leaseRevoke, { id });
      case "keepAlive":
        return hideLease({ ok: await client.keepAlive(id) });
      default: {
        const { ttl, grantedTtl, keys } = await client.call(methods.leaseTimeToLive, { id, keys: true });
        return { isAlive: ttl > 0n, ttl: ttl > 0n ? "some" : ttl, grantedTtl, keys: keys.map(hex).sort() };
      }
    }
  }

  async #watch(watch: WatchRecorder, operation: WatchOperation): Promise<void> {
    let startRevision = operation.start === undefined ? 0n : this.#base + BigInt(operation.start);
    // etcd 3.4 forgets a deletion at the very revision of the compaction, we keep it for such a watch.
    if (operation.start !== undefined && startRevision === this.#compacted) startRevision += 1n;
    if (operation.start !== undefined) this.hasPastWatch = true;
    const createRequest = {
      key: bytes(operation.key),
      rangeEnd: bytes(operation.end),
      startRevision,
      filters: [...operation.filters],
      prevKv: operation.prevKv,
      fragment: operation.fragment,
      watchId: BigInt(operation.id),
    };
    const notes = () => [...watch.byWatcher.values()].reduce((sum, record) => sum + record.notes.length, 0);
    const before = notes();
    watch.send(WatchRequest.fromPartial({ createRequest }));
    await watch.until(() => notes() > before, 5_000);
  }

  /** Waits for the answer: what is written next must not overtake the cancellation. */
  async #cancel(watch: WatchRecorder, watchId: bigint): Promise<void> {
    const answers = () => {
      const notes = watch.byWatcher.get(watchId)?.notes ?? [];
      const created = notes.filter((note) => note.created).length;
      return { created, cancelled: notes.filter((note) => note.canceled && note.compactRevision === 0n).length };
    };
    const { created, cancelled } = answers();
    watch.send(WatchRequest.fromPartial({ cancelRequest: { watchId } }));
    if (created > cancelled) await watch.until(() => answers().cancelled > cancelled, 5_000);
  }

  async #compact(client: StoreClient, relative: number, physical: boolean): Promise<unknown> {
    const revision = this.#base + BigInt(relative);
    const answer = await client.ask(methods.compact, CompactionRequest.fromPartial({ revision, physical }));
    if ("ok" in answer) this.#compacted = revision;
    return answer;
  }

  #lease(number: number): bigint {
    return number === 0 ? 0n : this.#sequence * 10n + BigInt(number);
  }

  #range(operation: RangeOperation): RangeRequest {
    const absolute = (relative: number | undefined) => (relative === undefined ? 0n : this.#base + BigInt(relative));
    const [minModRevision, maxModRevision, minCreateRevision, maxCreateRevision] = operation.bounds.map(absolute);
    return RangeRequest.fromPartial({
      key: bytes(operation.key),
      rangeEnd: bytes(operation.end),
      limit: BigInt(operation.limit),
      revision: absolute(operation.revision),
      sortOrder: operation.order as 0,
      sortTarget: operation.target as 0,
      keysOnly: operation.keysOnly,
      countOnly: operation.countOnly,
      minModRevision: minModRevision ?? 0n,
      maxModRevision: maxModRevision ?? 0n,
      minCreateRevision: minCreateRevision ?? 0n,
      maxCreateRevision: maxCreateRevision ?? 0n,
    });
  }

  #put(operation: Extract<InnerOperation, { type: "put" }>): PutRequest {
    const { prevKv, ignoreValue, ignoreLease } = operation;
    return {
      key: bytes(operation.key),
      value: bytes(operation.value),
      lease: this.#lease(operation.lease),
      prevKv,
      ignoreValue,
      ignoreLease,
    };
  }

  #txn(operation: Extract<InnerOperation, { type: "txn" }>): TxnRequest {
    return TxnRequest.fromPartial({
      compare: operation.compare.map((choice) => this.#compare(choice)),
      success: operation.success.map((inner) => this.#requestOp(inner)),
      failure: operation.failure.map((inner) => this.#requestOp(inner)),
    });
  }

  #requestOp(operation: InnerOperation): RequestOp {
    switch (operation.type) {
      case "range":
        return RequestOp.fromPartial({ requestRange: this.#range(operation) });
      case "put":
        return RequestOp.fromPartial({ requestPut: this.#put(operation) });
      case "delete":
        return RequestOp.fromPartial({ requestDeleteRange: deleteRequest(operation) });
      case "txn":
        return RequestOp.fromPartial({ requestTxn: this.#txn(operation) });
    }
  }

  #compare({ key, end, result, target, number, value }: CompareChoice): Compare {
    const revision = this.#base + BigInt(number);
    const operand = [
      { version: BigInt(number % 5) },
      { createRevision: revision },
      { modRevision: revision },
      { value: bytes(value) },
      { lease: this.#lease(number % 4) },
    ][target];
    return Compare.fromPartial({
      key: bytes(key),
      rangeEnd: bytes(end),
      result: result as 0,
      target: target as 0,
      ...operand,
    });
  }

  /** Revisions counted from the start, leases by their number, headers without the server's name. */
  #relative(value: unknown): unknown {
    return JSON.parse(
      JSON.stringify(value ?? null, (name, part: unknown) => {
        if (name === "clusterId" || name === "memberId" || name === "raftTerm") return undefined;
        if (part instanceof Uint8Array) return hex(part);
        if (typeof part !== "bigint") return isBufferJson(part) ? hex(Uint8Array.from(part.data)) : part;
        if (name === "lease") return part === 0n ? "none" : `lease ${part % 10n}`;
        if (/revision$/i.test(name)) return part === 0n ? "none" : `+${part - this.#base}`;
        return `${part}`;
      }),
    );
  }
}

function isBufferJson(part: unknown): part is { data: number[] } {
  return typeof part === "object" && part !== null && "type" in part && part.type === "Buffer" && "data" in part;
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}

function hex(value: Uint8Array): string {
  return Buffer.from(value).toString("latin1");
}

function deleteRequest({ key, end, prevKv }: Extract<InnerOperation, { type: "delete" }>): DeleteRangeRequest {
  return { key: bytes(key), rangeEnd: bytes(end), prevKv };
}

function hideLease<T extends { id: bigint }>(answer: Answer<T>): unknown {
  return "ok" in answer ? { ...answer.ok, id: answer.ok.id % 10n } : answer;
}

const targets: readonly ((kv: KeyValue) => string)[] = [
  ({ key }) => hex(key),
  ({ version }) => String(version),
  ({ createRevision }) => String(createRevision),
  ({ modRevision }) => String(modRevision),
  ({ value }) => hex(value),
];

/** etcd's sort is not stable: among keys that are equal in its target any order, and any cut, is right. */
function normaliseRange(operation: RangeOperation, answer: Answer<RangeResponse>): unknown {
  return "ok" in answer ? { ok: normaliseFound(operation, answer.ok) } : answer;
}

function normaliseFound(operation: RangeOperation, found: RangeResponse): unknown {
  if (operation.target === 0) return found;
  const target = targets[operation.target];
  // The values that were sorted by have been left out.
  const isHidden = operation.target === 4 && operation.keysOnly;
  return {
    ...found,
    kvs: operation.limit === 0 ? found.kvs.toSorted((a, b) => Buffer.compare(a.key, b.key)) : found.kvs.length,
    order:
      isHidden || target === undefined
        ? []
        : found.kvs.map((kv) => (/^\d+$/.test(target(kv)) ? rank(found, target, kv) : target(kv))),
  };
}

/** Revisions as ranks: they differ from server to server. */
function rank(found: RangeResponse, target: (kv: KeyValue) => string, kv: KeyValue): number {
  return [...new Set(found.kvs.map(target))].indexOf(target(kv));
}

function normaliseTxn(operation: Extract<InnerOperation, { type: "txn" }>, answer: Answer<TxnResponse>): unknown {
  return "ok" in answer ? { ok: normaliseResponses(operation, answer.ok) } : answer;
}

function normaliseResponses(operation: Extract<InnerOperation, { type: "txn" }>, answer: TxnResponse): unknown {
  const operations = answer.succeeded ? operation.success : operation.failure;
  const responses = answer.responses.map((response, index) => {
    const inner = operations[index];
    if (inner?.type === "range" && response.responseRange) return normaliseFound(inner, response.responseRange);
    if (inner?.type === "txn" && response.responseTxn) return normaliseResponses(inner, response.responseTxn);
    return response;
  });
  return { ...answer, responses };
}
