// etcd's services as gRPC methods on the embedded store. What is not in here is answered with "not implemented".
import {
  AuthDefinition,
  ClusterDefinition,
  KVDefinition,
  LeaseDefinition,
  type LeaseTimeToLiveResponse,
  MaintenanceDefinition,
  type ResponseHeader,
  WatchDefinition,
} from "../../etcd-api/etcd.ts";
import { callerKey } from "../grpc/caller.ts";
import { answering, bidirectional, type MethodEntry, unary } from "../grpc/grpc-methods.ts";
import type { MemoryBudget, Portion } from "../grpc/memory-budget.ts";
import { refusals } from "../grpc/rpc-error.ts";
import { answerRange } from "./answer-range.ts";
import { checkKey, checkPut, checkRange, checkTxn } from "./check-request.ts";
import type { EmbeddedStore } from "./embedded-store.ts";
import { remainingMs } from "./lease-clock.ts";
import type { RevisionWriter } from "./revision-writer.ts";
import { runTxn } from "./run-txn.ts";
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
}

export function storeMethods(options: ServiceOptions): MethodEntry[] {
  const { store } = options;
  return [...keyMethods(store), watchMethod(options), ...leaseMethods(store), ...otherMethods(options)];
}

function keyMethods(store: EmbeddedStore): MethodEntry[] {
  const { range, put, deleteRange, txn, compact } = KVDefinition.methods;
  return [
    answering(KVDefinition, range, async (request, call) => {
      checkRange(request);
      await answerRange(store, request, call);
    }),
    writing(store, put, checkPut, (writer, request, reserve) => {
      if (request.prevKv) reserve(writer.stateBytes(request.key));
      return writer.put(request);
    }),
    writing(store, deleteRange, checkKey, (writer, request, reserve) => {
      if (request.prevKv) reserve(writer.bytesBefore(request));
      return writer.deleteRange(request);
    }),
    writing(store, txn, checkTxn, runTxn),
    unary(KVDefinition, compact, async ({ revision, physical }) => {
      await store.compactor.compact(revision, physical);
      return { header: store.header() };
    }),
  ];
}

/** A write. What it gives back counts before it is read, and a refusal to count it refuses the write. */
function writing<Request, Answer extends object>(
  store: EmbeddedStore,
  definition: {
    readonly name: string;
    readonly requestType: { decode(bytes: Uint8Array): Request };
    readonly responseType: { encode(message: Answer & { header: ResponseHeader }): { finish(): Uint8Array } };
  },
  check: (request: Request) => void,
  run: (writer: RevisionWriter, request: Request, reserve: (bytes: number) => void) => Answer,
): MethodEntry {
  return answering(KVDefinition, definition, async (request, call) => {
    check(request);
    let portion: Portion | undefined;
    const reserve = (bytes: number) => {
      portion?.release();
      portion = bytes > UNCOUNTED_BYTES ? call.take(bytes) : undefined;
    };
    try {
      const answer = await store.write((writer) => run(writer, request, reserve));
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

function leaseMethods(store: EmbeddedStore): MethodEntry[] {
  const { leaseGrant, leaseRevoke, leaseTimeToLive, leaseLeases } = LeaseDefinition.methods;
  return [
    unary(LeaseDefinition, leaseGrant, async (request) => {
      const { id, ttlSeconds } = await store.leases.grant(request.id, request.ttl);
      return { header: store.header(), id, ttl: ttlSeconds, error: "" };
    }),
    unary(LeaseDefinition, leaseRevoke, async ({ id }) => {
      await store.leases.revoke(id);
      return { header: store.header() };
    }),
    keepAliveMethod(store),
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
function keepAliveMethod(store: EmbeddedStore): MethodEntry {
  const { leaseKeepAlive } = LeaseDefinition.methods;
  return bidirectional(LeaseDefinition, leaseKeepAlive, (call) => {
    let last = Promise.resolve();
    const answer = async (id: bigint) => {
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
        errors: [],
        isLearner: false,
      };
    }),
    unary(MaintenanceDefinition, alarm, () => ({ header: store.header(), alarms: [] })),
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
