// Requests at and over the limits, one after the other, to a real etcd and to the embedded store: what one refuses the
// other refuses, with the same code and words.
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type AuthenticateRequest,
  CompactionRequest,
  Compare,
  Compare_CompareResult,
  Compare_CompareTarget,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RangeRequest_SortOrder,
  RangeRequest_SortTarget,
  RequestOp,
  TxnRequest,
  WatchRequest,
  type WatchResponse,
} from "../../src/etcd-api/etcd.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { EtcdServer } from "../etcd/etcd-server.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { type Answer, StoreClient } from "./store-client.ts";

let etcd: EtcdServer;
let embedded: EmbeddedServer;

beforeAll(async () => {
  [etcd, embedded] = await Promise.all([EtcdServer.start(), EmbeddedServer.start({ inMemory: true })]);
});

afterAll(async () => {
  await etcd[Symbol.asyncDispose]();
  await embedded[Symbol.asyncDispose]();
});

const put = (key: string, rest: Partial<PutRequest> = {}) => PutRequest.fromPartial({ key: Buffer.from(key), ...rest });
const range = (key: string, rest: Partial<RangeRequest> = {}) =>
  RangeRequest.fromPartial({ key: Buffer.from(key), ...rest });
const remove = (key: string, end = "") =>
  DeleteRangeRequest.fromPartial({ key: Buffer.from(key), rangeEnd: Buffer.from(end) });
const inTxn = (request: PutRequest) => RequestOp.fromPartial({ requestPut: request });
const txn = (success: RequestOp[], compare: Compare[] = []) => TxnRequest.fromPartial({ success, compare });
const nested = (inner: TxnRequest) => RequestOp.fromPartial({ requestTxn: inner });
const many = (count: number, prefix = "n") => Array.from({ length: count }, (_, index) => inTxn(put(prefix + index)));
const compares = (count: number) =>
  Array.from({ length: count }, () => Compare.fromPartial({ key: Buffer.from("a"), target: 0, version: 0n }));
const authenticate: AuthenticateRequest = { name: "nobody", password: "x" };

/** What no enumeration has; the wire lets any number through. */
const unknown = 9 as never;
const MAX_INT64 = 0x7fff_ffff_ffff_ffffn;
const whole = (rest: Partial<RangeRequest> = {}) => range("n", { rangeEnd: Buffer.from("o"), ...rest });
const readInTxn = (request: RangeRequest) => txn([RequestOp.fromPartial({ requestRange: request })]);
const compared = (rest: Partial<Compare>) => txn([], [Compare.fromPartial({ key: Buffer.from("n0"), ...rest })]);

type Ask = (client: StoreClient) => Promise<Answer<unknown>>;

/** In this order; all on the same keys. */
const requests: readonly (readonly [what: string, ask: Ask])[] = [
  ["range: no key", (c) => c.ask(methods.range, range(""))],
  ["range: a revision in the future", (c) => c.ask(methods.range, range("a", { revision: 1_000_000n }))],
  ["range: a negative revision", (c) => c.ask(methods.range, range("a", { revision: -5n }))],
  ["range: a negative limit", (c) => c.ask(methods.range, range("a", { limit: -5n }))],
  ["range: the end before the key", (c) => c.ask(methods.range, range("b", { rangeEnd: Buffer.from("a") }))],
  ["put: no key", (c) => c.ask(methods.put, put(""))],
  ["put: a lease that is not there", (c) => c.ask(methods.put, put("a", { lease: 99n }))],
  ["put: the old value of a key that is not there", (c) => c.ask(methods.put, put("none", { ignoreValue: true }))],
  ["put: the old lease of a key that is not there", (c) => c.ask(methods.put, put("none", { ignoreLease: true }))],
  ["put: old value and a value", (c) => c.ask(methods.put, put("a", { ignoreValue: true, value: Buffer.from("x") }))],
  ["put: old lease and a lease", (c) => c.ask(methods.put, put("a", { ignoreLease: true, lease: 7n }))],
  ["put: a key with any bytes", (c) => c.ask(methods.put, put("\0\u00ff\n"))],
  ["put: just not too large", (c) => c.ask(methods.put, put("big", { value: Buffer.alloc(1_572_000) }))],
  ["put: too large", (c) => c.ask(methods.put, put("big", { value: Buffer.alloc(1_573_000) }))],
  ["delete: no key", (c) => c.ask(methods.deleteRange, remove(""))],
  ["delete: the end before the key", (c) => c.ask(methods.deleteRange, remove("b", "a"))],
  ["txn: empty", (c) => c.ask(methods.txn, txn([]))],
  ["txn: 128 operations", (c) => c.ask(methods.txn, txn(many(128)))],
  ["txn: 129 operations", (c) => c.ask(methods.txn, txn(many(129)))],
  ["txn: 128 comparisons", (c) => c.ask(methods.txn, txn([], compares(128)))],
  ["txn: 129 comparisons", (c) => c.ask(methods.txn, txn([], compares(129)))],
  ["txn: nested, together too many", (c) => c.ask(methods.txn, txn([nested(txn(many(128)))]))],
  ["txn: nested, together just few enough", (c) => c.ask(methods.txn, txn([nested(txn(many(127)))]))],
  ["txn: twice the same key", (c) => c.ask(methods.txn, txn([inTxn(put("a")), inTxn(put("a"))]))],
  ["txn: an operation of no kind", (c) => c.ask(methods.txn, txn([RequestOp.fromPartial({})]))],
  ["txn: a comparison without key", (c) => c.ask(methods.txn, txn([], [Compare.fromPartial({ target: 0 })]))],
  ["txn: a put without key", (c) => c.ask(methods.txn, txn([inTxn(put(""))]))],
  ["txn: a put with a lease that is not there", (c) => c.ask(methods.txn, txn([inTxn(put("a", { lease: 99n }))]))],
  [
    "txn: a read in the future",
    (c) => c.ask(methods.txn, txn([RequestOp.fromPartial({ requestRange: range("a", { revision: 1_000_000n }) })])),
  ],
  ["range: the largest limit", (c) => c.ask(methods.range, whole({ limit: MAX_INT64 }))],
  ["range: the largest limit, keys only", (c) => c.ask(methods.range, whole({ limit: MAX_INT64, keysOnly: true }))],
  [
    "txn: the largest limit, keys only",
    (c) => c.ask(methods.txn, readInTxn(whole({ limit: MAX_INT64, keysOnly: true }))),
  ],
  ["range: an unknown order", (c) => c.ask(methods.range, whole({ sortOrder: unknown, limit: 3n }))],
  [
    "range: an unknown order by version",
    (c) => c.ask(methods.range, whole({ sortOrder: unknown, sortTarget: RangeRequest_SortTarget.VERSION })),
  ],
  ["txn: an unknown target is equal", (c) => c.ask(methods.txn, compared({ target: unknown }))],
  [
    "txn: an unknown target is not less",
    (c) => c.ask(methods.txn, compared({ target: unknown, result: Compare_CompareResult.LESS })),
  ],
  ["txn: an unknown result of a number", (c) => c.ask(methods.txn, compared({ result: unknown, version: 7n }))],
  [
    "txn: an unknown result of a value",
    (c) => c.ask(methods.txn, compared({ result: unknown, target: Compare_CompareTarget.VALUE })),
  ],
  ["lease: granted", (c) => c.ask(methods.leaseGrant, { id: 5n, ttl: 500n })],
  ["lease: granted twice", (c) => c.ask(methods.leaseGrant, { id: 5n, ttl: 500n })],
  ["lease: too long", (c) => c.ask(methods.leaseGrant, { id: 6n, ttl: 9_000_000_001n })],
  ["lease: as long as can be", (c) => c.ask(methods.leaseGrant, { id: 6n, ttl: 9_000_000_000n })],
  ["lease: revoked, but not there", (c) => c.ask(methods.leaseRevoke, { id: 99n })],
  ["lease: kept alive, but not there", async (c) => ({ ok: await c.keepAlive(99n) })],
  ["lease: time of one that is not there", (c) => c.ask(methods.leaseTimeToLive, { id: 99n, keys: true })],
  ["compact: the future", (c) => c.ask(methods.compact, CompactionRequest.fromPartial({ revision: 1_000_000n }))],
  ["compact", (c) => c.ask(methods.compact, CompactionRequest.fromPartial({ revision: 3n }))],
  ["compact: again", (c) => c.ask(methods.compact, CompactionRequest.fromPartial({ revision: 3n }))],
  ["compact: before that", (c) => c.ask(methods.compact, CompactionRequest.fromPartial({ revision: 2n }))],
  ["range: a compacted revision", (c) => c.ask(methods.range, range("a", { revision: 2n }))],
  [
    "txn: a read of a compacted revision",
    (c) => c.ask(methods.txn, txn([RequestOp.fromPartial({ requestRange: range("a", { revision: 2n }) })])),
  ],
  ["log in where there are no users", (c) => c.ask(methods.authenticate, authenticate)],
];

/** Without what names the server. */
function comparable(answer: unknown): unknown {
  return JSON.parse(
    JSON.stringify(answer, (name, part: unknown) => {
      if (name === "clusterId" || name === "memberId" || name === "raftTerm") return undefined;
      return typeof part === "bigint" ? String(part) : part;
    }),
  );
}

test("answers and refusals, word for word", async () => {
  using theirs = new StoreClient(etcd.endpoints);
  using ours = new StoreClient(embedded.endpoints);
  for (const [what, ask] of requests) {
    expect(comparable(await ask(ours)), what).toEqual(comparable(await ask(theirs)));
  }
});

test("an unknown sort target, of which etcd 3.4 dies, is refused as by later ones; a write beside it is not", async () => {
  using client = new StoreClient(embedded.endpoints);
  const { DESCEND } = RangeRequest_SortOrder;
  const refused = { error: "3 etcdserver: invalid sort option" };
  expect(await client.ask(methods.range, whole({ sortTarget: unknown }))).toEqual(refused);
  const answers = await Promise.all([
    client.ask(methods.put, put("beside")),
    client.ask(methods.txn, readInTxn(whole({ sortTarget: unknown, sortOrder: DESCEND }))),
    client.ask(methods.txn, txn([nested(readInTxn(whole({ sortTarget: unknown })))])),
    client.ask(methods.put, put("beside too")),
  ]);
  expect(answers).toEqual([{ ok: expect.anything() }, refused, refused, { ok: expect.anything() }]);
});

test("a message that the framing does not let in", async () => {
  using theirs = new StoreClient(etcd.endpoints);
  using ours = new StoreClient(embedded.endpoints);
  const request = put("big", { value: Buffer.alloc(3_000_000) });
  const [expected, actual] = [await theirs.ask(methods.put, request), await ours.ask(methods.put, request)];
  // How grpc counts the largest message differs by a few bytes.
  const withoutSizes = (answer: Answer<unknown>) =>
    "error" in answer ? answer.error.replaceAll(/\d{5,}/g, "N") : "ok";
  expect(withoutSizes(actual)).toBe(withoutSizes(expected));
  expect(withoutSizes(actual)).toBe("8 grpc: received message larger than max (N vs. N)");
});

const watches: readonly (readonly [what: string, request: Parameters<typeof WatchRequest.fromPartial>[0]])[] = [
  ["all keys from the empty one on", { createRequest: { key: Buffer.alloc(0), rangeEnd: Buffer.alloc(1) } }],
  ["the end before the key", { createRequest: { key: Buffer.from("b"), rangeEnd: Buffer.from("a") } }],
  ["the end is the key", { createRequest: { key: Buffer.from("a"), rangeEnd: Buffer.from("a") } }],
  ["an id of one's own", { createRequest: { key: Buffer.from("a"), watchId: 70n } }],
  ["an id that is taken", { createRequest: { key: Buffer.from("a"), watchId: 70n } }],
  ["a start far in the future", { createRequest: { key: Buffer.from("a"), startRevision: 1n << 60n } }],
  ["a cancellation", { cancelRequest: { watchId: 70n } }],
  ["the same id again", { createRequest: { key: Buffer.from("a"), watchId: 70n } }],
];

test("watches: what is accepted and what is refused", async () => {
  using theirs = new StoreClient(etcd.endpoints);
  using ours = new StoreClient(embedded.endpoints);
  using etcdWatch = theirs.watch();
  using embeddedWatch = ours.watch();
  const notes = (watch: typeof etcdWatch) => [...watch.byWatcher.values()].flatMap((record) => record.notes);
  const shown = ({ watchId, created, canceled, cancelReason }: WatchResponse) => ({
    watchId: String(watchId),
    created,
    canceled,
    cancelReason,
  });
  for (const [index, [what, request]] of watches.entries()) {
    for (const watch of [etcdWatch, embeddedWatch]) {
      watch.send(WatchRequest.fromPartial(request));
      expect(await watch.until(() => notes(watch).length > index), what).toBe(true);
    }
    const byAnswer = (watch: typeof etcdWatch) =>
      notes(watch)
        .map((note) => JSON.stringify(shown(note)))
        .sort();
    expect(byAnswer(embeddedWatch), what).toEqual(byAnswer(etcdWatch));
  }
});
