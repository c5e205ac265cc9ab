// What a caller may write, where the store tells its callers apart. Everything may be read by whoever is let in.
import type { RequestOp } from "../../etcd-api/etcd.ts";
import type { Caller } from "../grpc/caller.ts";
import type { Database } from "./database.ts";
import type { RevisionWriter } from "./revision-writer.ts";

/** Undefined: everything, and nothing is noted. */
export type FindRights = (caller: Caller) => CallerRights | undefined;

/** Of one caller. Every method throws an RpcError, the refusal, before anything is changed. */
export interface CallerRights {
  /** Carries out, by `run`, what is about to happen to keys: nested transactions are decided and spread out. */
  write<T>(writer: RevisionWriter, operations: readonly RequestOp[], run: () => T): T;
  /** The time to live that is granted in place of the one asked for. `id` 0n: any. */
  grantedTtl(id: bigint, ttlSeconds: bigint): bigint;
  /** After the grant. Gives leases that are to be revoked in exchange. */
  granted(writer: RevisionWriter, id: bigint): readonly bigint[];
  /** The lease exists. */
  checkRevoke(database: Database, id: bigint): void;
  /** Whether it is to be noted whose keys hang on the lease, by `noteKept`. */
  checkKeepAlive(database: Database, id: bigint): "known" | "toBeNoted";
  noteKept(writer: RevisionWriter, id: bigint): void;
}
