// Random operations on a store, as data: revisions are relative to the start of the sequence, leases are numbered.
import fc from "fast-check";

export interface KeyChoice {
  readonly key: string;
  /** "" the key alone; "\0" from it on; anything else the end, exclusive. */
  readonly end: string;
}

export type RangeOperation = KeyChoice & {
  readonly type: "range";
  readonly limit: number;
  /** Undefined: now. May lie in the future or before a compaction. */
  readonly revision: number | undefined;
  readonly order: number;
  readonly target: number;
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  /** Relative bounds: min mod, max mod, min create, max create. */
  readonly bounds: readonly (number | undefined)[];
};

export interface PutOperation {
  readonly type: "put";
  readonly key: string;
  readonly value: string;
  /** 0: none; 1 to 3: one of the sequence's leases, which may not exist. */
  readonly lease: number;
  readonly prevKv: boolean;
  readonly ignoreValue: boolean;
  readonly ignoreLease: boolean;
}

export type DeleteOperation = KeyChoice & { readonly type: "delete"; readonly prevKv: boolean };

export type CompareChoice = KeyChoice & {
  readonly result: number;
  readonly target: number;
  readonly number: number;
  readonly value: string;
};

export interface TxnOperation {
  readonly type: "txn";
  readonly compare: readonly CompareChoice[];
  readonly success: readonly InnerOperation[];
  readonly failure: readonly InnerOperation[];
}

export type InnerOperation = RangeOperation | PutOperation | DeleteOperation | TxnOperation;

export type WatchOperation = KeyChoice & {
  readonly type: "watch";
  /** Undefined: from now on. */
  readonly start: number | undefined;
  readonly id: number;
  readonly filters: readonly (0 | 1)[];
  readonly prevKv: boolean;
  readonly fragment: boolean;
};

export type Operation =
  | InnerOperation
  | WatchOperation
  | { readonly type: "cancel"; readonly id: number }
  | { readonly type: "compact"; readonly revision: number; readonly physical: boolean }
  | { readonly type: "grant"; readonly lease: number; readonly ttl: number }
  | { readonly type: "revoke"; readonly lease: number }
  | { readonly type: "keepAlive"; readonly lease: number }
  | { readonly type: "timeToLive"; readonly lease: number }
  | { readonly type: "leases" };

export interface Step {
  readonly client: number;
  readonly operation: Operation;
}

const key = fc.constantFrom("a", "b", "c", "a/1", "a/2", "a\0", "\u00ff", "z");
/** Rarely one that must be refused. */
const anyKey = fc.oneof({ weight: 30, arbitrary: key }, { weight: 1, arbitrary: fc.constant("") });
const end = fc.constantFrom("", "", "", "b", "a0", "\0", "\u00ff\u00ff");
const keys = { key: anyKey, end };
const lease = fc.integer({ min: 1, max: 3 });
const value = fc.constantFrom("", "x", "y", "a longer value", "\u00fe\0");
const rarely = fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) });
const revision = fc.integer({ min: 0, max: 60 });
const maybeRevision = fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: revision });
const rareBound = fc.oneof({ weight: 8, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: revision });

const range: fc.Arbitrary<RangeOperation> = fc.record({
  type: fc.constant("range"),
  ...keys,
  limit: fc.constantFrom(0, 0, 1, 2, 5),
  revision: maybeRevision,
  order: fc.integer({ min: 0, max: 2 }),
  target: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 0, max: 4 }) }),
  keysOnly: rarely,
  countOnly: rarely,
  bounds: fc.tuple(rareBound, rareBound, rareBound, rareBound),
});

const put: fc.Arbitrary<PutOperation> = fc.record({
  type: fc.constant("put"),
  key: anyKey,
  value,
  lease: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: lease }),
  prevKv: fc.boolean(),
  ignoreValue: rarely,
  ignoreLease: rarely,
});

const remove: fc.Arbitrary<DeleteOperation> = fc.record({ type: fc.constant("delete"), ...keys, prevKv: fc.boolean() });

/** etcd 3.4 does not read a zero byte as "no end" where it looks for overlaps within a transaction. */
const removeInTxn = remove.map((operation) => (operation.end === "\0" ? { ...operation, end: "" } : operation));

const compare: fc.Arbitrary<CompareChoice> = fc.record({
  key: anyKey,
  end,
  result: fc.integer({ min: 0, max: 3 }),
  target: fc.integer({ min: 0, max: 4 }),
  number: fc.integer({ min: 0, max: 30 }),
  value,
});

const { txn } = fc.letrec<{ txn: TxnOperation; inner: InnerOperation }>((tie) => ({
  txn: fc.record({
    type: fc.constant("txn"),
    compare: fc.array(compare, { maxLength: 3 }),
    success: fc.array(tie("inner"), { maxLength: 4 }),
    failure: fc.array(tie("inner"), { maxLength: 3 }),
  }),
  inner: fc.oneof(
    { maxDepth: 2, withCrossShrink: true },
    { weight: 4, arbitrary: put },
    { weight: 2, arbitrary: range },
    { weight: 2, arbitrary: removeInTxn },
    { weight: 1, arbitrary: tie("txn") },
  ),
}));

const watch: fc.Arbitrary<WatchOperation> = fc.record({
  type: fc.constant("watch"),
  ...keys,
  start: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: revision }),
  id: fc.constantFrom(0, 0, 0, 7, 8),
  filters: fc.constantFrom<readonly (0 | 1)[]>([], [], [0], [1]),
  prevKv: fc.boolean(),
  fragment: fc.boolean(),
});

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 30, arbitrary: put },
  { weight: 18, arbitrary: range },
  { weight: 10, arbitrary: remove },
  { weight: 20, arbitrary: txn },
  { weight: 4, arbitrary: watch },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("cancel"), id: fc.constantFrom(0, 1, 2, 7) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("compact"), revision, physical: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ type: fc.constant("grant"), lease, ttl: fc.constantFrom(500, 900, 10 ** 10) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("revoke"), lease }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("keepAlive"), lease }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("timeToLive"), lease }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("leases") }) },
);

/** `length` operations, each by one of `clients` clients. */
export function sequence(length: number, clients: number): fc.Arbitrary<Step[]> {
  const step = fc.record({ client: fc.integer({ min: 0, max: clients - 1 }), operation });
  return fc.array(step, { minLength: length, maxLength: length, size: "max" });
}
