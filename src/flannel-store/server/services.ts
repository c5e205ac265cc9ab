// etcd's services as gRPC methods on the embedded store. What is not in here is answered with "not implemented".
import {
  AlarmType,
  AuthDefinition,
  ClusterDefinition,
  KVDefinition,
  LeaseDefinition,
  type LeaseTimeToLiveResponse,
  MaintenanceDefinition,
  type RequestOp,
  type ResponseHeader,
  WatchDefinition,
} from "../../etcd-api/etcd.ts";
import { type Caller, callerKey } from "../grpc/caller.ts";
import { answering, bidirectional, type MethodEntry, unary } from "../grpc/grpc-methods.ts";
import type { MemoryBudget, Portion } from "../grpc/memory-budget.ts";
import { grpcStatus, RpcError, refusals } from "../grpc/rpc-error.ts";
import { answerRange } from "./answer-range.ts";
import type { FindRights } from "./caller-rights.ts";
import { checkKey, checkPut, checkRange, checkTxn } from "./check-request.ts";
import type { EmbeddedStore } from "./embedded-store.ts";
import { remainingMs } from "./lease-clock.ts";
import type { RevisionWriter } from "./revision-writer.ts";
import { runTxn, takeRoomFor, type WriteContext } from "./run-txn.ts";
import { WatchQuota } from "./watch-quota.ts";
import { WatchStream } from "./watch-stream.ts";

/** The etcd whose behaviour we follow, and whose answers the tests compare with ours. */
const FOLLOWED_VERSION = "3.4.23";

/** Of methods that anybody may call. */
const MAX_OPEN_REQUEST_BYTES = 8 * 1024;
/** As small as what a call costs anyway. */
const UNCOUNTED_BYTES = 4 * 1024;

export interface ServiceOptions {
  readonly store: EmbeddedStore;
  readonly budget: MemoryBudget;
  /** Watch streams that are open, for notices of progress. */
  readonly watchStreams: Set<WatchStream>;
  /** Name and URLs for the list of members. */
  readonly name: string;
  readonly clientUrls: () => readonly string[];
  /** A new token, or undefined for a wrong name or password. Throws `authenticationNotEnabled`. */
  readonly authenticate: (name: string, password: string) => Promise<string | undefined>;
  /** Missing: everybody may write everything. */
  readonly rightsOf?: FindRights;
}

export function storeMethods(options: ServiceOptions): MethodEntry[] {
  const { store, rightsOf = () => undefined } = options;
  return [
    ...keyMethods(store, rightsOf),
    watchMethod(options),
    ...leaseMethods(store, rightsOf),
    ...otherMethods(options),
  ];
}

function keyMethods(store: EmbeddedStore, rightsOf: FindRights): MethodEntry[] {
  const writing = <Request, Answer extends object>(...given: Writing<Request, Answer>) =>
    writingMethod(store, rightsOf, ...given);
  const { range, put, deleteRange, txn, compact } = KVDefinition.methods;
  return [
    answering(KVDefinition, range, async (request, call) => {
      checkRange(request);
      await answerRange(store, request, call);
    }),
    writing(put, checkPut, (writer, request, { reserve, permit }) => {
      if (request.prevKv) reserve(writer.stateBytes(request.key));
      return permit([operation({ requestPut: request })], () => {
        takeRoomFor(writer, [request]);
        return writer.put(request);
      });
    }),
    writing(deleteRange, checkKey, (writer, request, { reserve, permit }) => {
      if (request.prevKv) reserve(writer.bytesBefore(request));
      return permit([operation({ requestDeleteRange: request })], () => writer.deleteRange(request));
    }),
    writing(txn, checkTxn, runTxn),
    unary(KVDefinition, compact, async ({ revision, physical }) => {
      await store.compactor.compact(revision, physical);
      return { header: store.header() };
    }),
  ];
}

function operation(part: Partial<RequestOp>): RequestOp {
  const nothing = { requestRange: undefined, requestPut: undefined, requestDeleteRange: undefined };
  return { ...nothing, requestTxn: undefined, ...part };
}

type Writing<Request, Answer extends object> = readonly [
  definition: {
    readonly name: string;
    readonly requestType: { decode(bytes: Uint8Array): Request };
    readonly responseType: { encode(message: Answer & { header: ResponseHeader }): { finish(): Uint8Array } };
  },
  check: (request: Request) => void,
  run: (writer: RevisionWriter, request: Request, context: WriteContext) => Answer,
];

/** A write. What it gives back counts before it is read, and a refusal to count it refuses the write. */
function writingMethod<Request, Answer extends object>(
  store: EmbeddedStore,
  rightsOf: FindRights,
  ...[definition, check, run]: Writing<Request, Answer>
): MethodEntry {
  return answering(KVDefinition, definition, async (request, call, { caller }) => {
    check(request);
    const rights = rightsOf(caller);
    let portion: Portion | undefined;
    const reserve = (bytes: number) => {
      portion?.release();
      portion = bytes > UNCOUNTED_BYTES ? call.take(bytes) : undefined;
    };
    try {
      const answer = await store.write((writer) => {
        const permit: WriteContext["permit"] = (operations, carryOut) =>
          rights === undefined ? carryOut() : rights.write(writer, operations, carryOut);
        return run(writer, request, { reserve, permit });
      });
      call.end(definition.responseType.encode(answer).finish(), portion);
    } catch (error) {
      portion?.release();
      throw error;
    }
  });
}

function watchMethod({ store, watchStreams, budget }: ServiceOptions): MethodEntry {
  const quota = new WatchQuota(budget);
  return bidirectional(WatchDefinition, WatchDefinition.methods.watch, (call, { caller }) => {
    const header = (revision?: bigint) => store.header(revision);
    const { account } = call;
    const admit = (keyBytes: number) => quota.admit(callerKey(caller) ?? account, account, keyBytes);
    const stream = new WatchStream({ call, hub: store.watches, header, admit });
    watchStreams.add(stream);
    call.onClose(() => watchStreams.delete(stream));
    return {
      onRequest: (request) => stream.onRequest(request),
      onEnd: () => {
        stream.close();
        call.end();
      },
    };
  });
}

function leaseMethods(store: EmbeddedStore, rightsOf: FindRights): MethodEntry[] {
  const { leaseGrant, leaseRevoke, leaseTimeToLive, leaseLeases } = LeaseDefinition.methods;
  return [
    unary(LeaseDefinition, leaseGrant, async (request, { caller }) => {
      const rights = rightsOf(caller);
      const ttl = rights?.grantedTtl(request.id, request.ttl) ?? request.ttl;
      const exchange = rights && ((writer: RevisionWriter, id: bigint) => rights.granted(writer, id));
      const { id, ttlSeconds } = await store.leases.grant(request.id, ttl, exchange);
      return { header: store.header(), id, ttl: ttlSeconds, error: "" };
    }),
    unary(LeaseDefinition, leaseRevoke, async ({ id }, { caller }) => {
      const rights = rightsOf(caller);
      await store.leases.revoke(id, ({ database }) => rights?.checkRevoke(database, id));
      return { header: store.header() };
    }),
    keepAliveMethod(store, rightsOf),
    answering(LeaseDefinition, leaseTimeToLive, async ({ id, keys }, call) => {
      const portion = keys ? await call.reserve(store.measureKeysOfLease(id)) : undefined;
      call.end(leaseTimeToLive.responseType.encode(timeToLive(store, id, keys)).finish(), portion);
    }),
    unary(LeaseDefinition, leaseLeases, () => ({
      header: store.header(),
      leases: store.leases.all().map(({ id }) => ({ id })),
    })),
  ];
}

function timeToLive(store: EmbeddedStore, id: bigint, hasKeys: boolean): LeaseTimeToLiveResponse {
  const lease = store.leases.get(id);
  const header = store.header();
  if (lease === undefined || remainingMs(lease) <= 0) return { header, id, ttl: -1n, grantedTtl: 0n, keys: [] };
  const ttl = BigInt(Math.floor(remainingMs(lease) / 1_000));
  return { header, id, ttl, grantedTtl: lease.ttlSeconds, keys: hasKeys ? store.keysOfLease(id) : [] };
}

/** Answers in the order of the requests. */
function keepAliveMethod(store: EmbeddedStore, rightsOf: FindRights): MethodEntry {
  const { leaseKeepAlive } = LeaseDefinition.methods;
  return bidirectional(LeaseDefinition, leaseKeepAlive, (call, { caller }) => {
    let last = Promise.resolve();
    const answer = async (id: bigint) => {
      await permitKeepAlive(store, rightsOf, caller, id);
      const kept = await store.leases.keepAlive(id);
      call.send(
        leaseKeepAlive.responseType.encode({ header: store.header(), id, ttl: kept?.ttlSeconds ?? 0n }).finish(),
      );
      if (call.isCongested) call.pauseReading();
    };
    const then = (next: () => Promise<void> | void) => {
      last = last.then(next).catch((error: unknown) => call.fail(error));
    };
    return { onRequest: ({ id }) => then(() => answer(id)), onEnd: () => then(() => call.end()) };
  });
}

/** Throws the refusal. A full disk keeps no lease from living on. */
async function permitKeepAlive(store: EmbeddedStore, rightsOf: FindRights, caller: Caller, id: bigint): Promise<void> {
  const rights = rightsOf(caller);
  if (rights === undefined || store.leases.get(id) === undefined) return;
  if (store.inspect((database) => rights.checkKeepAlive(database, id)) === "known") return;
  try {
    await store.write((writer) => {
      rights.noteKept(writer, id);
      return {};
    });
  } catch (error) {
    const isFull = error instanceof RpcError && error.status === grpcStatus.resourceExhausted;
    if (!isFull) throw error;
  }
}

function otherMethods({ store, name, clientUrls, authenticate }: ServiceOptions): MethodEntry[] {
  const { status, alarm, defragment } = MaintenanceDefinition.methods;
  return [
    unary(
      AuthDefinition,
      AuthDefinition.methods.authenticate,
      async ({ name: user, password }) => {
        const token = await authenticate(user, password);
        if (token === undefined) throw refusals.authenticationFailed();
        return { header: store.header(), token };
      },
      MAX_OPEN_REQUEST_BYTES,
    ),
    unary(MaintenanceDefinition, status, () => {
      const { totalBytes, usedBytes } = store.size();
      return {
        header: store.header(),
        version: FOLLOWED_VERSION,
        dbSize: totalBytes,
        dbSizeInUse: usedBytes,
        leader: store.memberId,
        raftIndex: store.revision,
        raftAppliedIndex: store.revision,
        raftTerm: store.term,
        errors: store.isFull ? [`memberID:${store.memberId} alarm:NOSPACE `] : [],
        isLearner: false,
      };
    }),
    unary(MaintenanceDefinition, alarm, () => ({
      header: store.header(),
      // It ends by itself: there is nothing to disarm.
      alarms: store.isFull ? [{ memberId: store.memberId, alarm: AlarmType.NOSPACE }] : [],
    })),
    unary(MaintenanceDefinition, defragment, async () => {
      await store.compactor.shrink();
      return { header: store.header() };
    }),
    unary(ClusterDefinition, ClusterDefinition.methods.memberList, () => ({
      header: store.header(),
      members: [{ id: store.memberId, name, peerUrls: [], clientUrls: [...clientUrls()], isLearner: false }],
    })),
    unary({ fullName: HEALTH_SERVICE }, healthCheck, () => undefined, MAX_OPEN_REQUEST_BYTES),
  ];
}

export const HEALTH_SERVICE = "grpc.health.v1.Health";

/** The standard health check. Whoever gets an answer at all gets SERVING, the field's value 1. */
const healthCheck = {
  name: "Check",
  requestType: { encode: () => ({ finish: () => new Uint8Array(0) }), decode: () => undefined },
  responseType: { encode: () => ({ finish: () => Uint8Array.of(0x08, 0x01) }), decode: () => undefined },
};
