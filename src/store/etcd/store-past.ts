// Whether the store that answers has the past that we followed. A copy put back from a backup may have the same cluster
// id, and with new writes its revision passes what we saw; what it cannot have is the last write that we saw.
import { hasCode } from "../../errors.ts";
import { type KeyValue, RangeRequest, type ResponseHeader } from "../../etcd-api/etcd.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import { methods } from "./rpc.ts";

export interface StoreFacts {
  /** 0n: not known. */
  readonly clusterId: bigint;
  /** Never falls within one history: etcd's elections, the starts of the embedded store. 0n: not known. */
  readonly raftTerm: bigint;
}

/** What is remembered of a store while a range of its keys is followed. */
export class StorePast {
  #facts: StoreFacts;
  #lastPut: KeyValue | undefined;

  /** `lastPut`: the latest write in the range that is known, if any. */
  constructor(facts: StoreFacts, lastPut?: KeyValue) {
    this.#facts = facts;
    this.#lastPut = lastPut;
  }

  /** The store told of a write. */
  followPut(kv: KeyValue): void {
    this.#lastPut = kv;
  }

  /**
   * To be asked of each new watch, `header` being of its first answer and `key` one that may be read: true when the
   * store is another one, or an older copy of itself, whether or not its revision has passed `followedTo`. False when
   * that is not so or cannot be known, for which comparing all keys is the answer. Rejects when the store does not answer.
   */
  async isMissingIn(
    connection: EtcdConnection,
    header: ResponseHeader | undefined,
    { key, followedTo }: { readonly key: Uint8Array; readonly followedTo: bigint },
    signal: AbortSignal,
  ): Promise<boolean> {
    if (header === undefined) return false;
    if (differs(header.clusterId, this.#facts.clusterId)) return true;
    if (this.#isBehind(header, followedTo)) {
      // A member may just lag behind: only a read through the leader tells.
      const now = (await readAt(connection, key, 0n, signal)).header;
      if (now === undefined || this.#isBehind(now, followedTo)) return true;
    }
    if (await this.#lacksLastPut(connection, signal)) return true;
    const { clusterId, raftTerm } = this.#facts;
    this.#facts = { clusterId: header.clusterId || clusterId, raftTerm: header.raftTerm || raftTerm };
    return false;
  }

  #isBehind({ revision, raftTerm }: ResponseHeader, followedTo: bigint): boolean {
    return revision < followedTo || (raftTerm !== 0n && raftTerm < this.#facts.raftTerm);
  }

  async #lacksLastPut(connection: EtcdConnection, signal: AbortSignal): Promise<boolean> {
    const known = this.#lastPut;
    if (known === undefined) return false;
    try {
      const then = await readAt(connection, known.key, known.modRevision, signal);
      return !isSameWrite(then.kvs[0], known);
    } catch (error) {
      if (!hasCode(error, "STORE_COMPACTED")) throw error;
    }
    // It may have been replaced or deleted since, but never by a write that came before it.
    const [now] = (await readAt(connection, known.key, 0n, signal)).kvs;
    return now !== undefined && now.modRevision <= known.modRevision && !isSameWrite(now, known);
  }
}

/** Takes the first store that answers. */
export function unknownPast(): StorePast {
  return new StorePast({ clusterId: 0n, raftTerm: 0n });
}

/** A proxy tells no id. */
function differs(clusterId: bigint, known: bigint): boolean {
  return clusterId !== 0n && known !== 0n && clusterId !== known;
}

/** Linearizable. `revision` 0n: now. */
function readAt(connection: EtcdConnection, key: Uint8Array, revision: bigint, signal: AbortSignal) {
  const request = RangeRequest.fromPartial({ key, revision });
  return connection.call(methods.range, request, "compare the store with what it told before", signal);
}

function isSameWrite(found: KeyValue | undefined, known: KeyValue): boolean {
  if (found === undefined) return false;
  const isSameStamp =
    found.modRevision === known.modRevision &&
    found.createRevision === known.createRevision &&
    found.version === known.version &&
    found.lease === known.lease;
  return isSameStamp && Buffer.compare(found.value, known.value) === 0;
}
