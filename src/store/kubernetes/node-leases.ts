// From what a watch says about Nodes to changes of leases. Of each Node only its lease is kept; a Node that is written
// without any of that having changed, as happens every few minutes, is no news. Pure.
import type { AnnotationNames } from "../../config/annotation-prefix.ts";
import type { Lease, LeaseEvent, UnreadableLease } from "../../lease/lease.ts";
import { KubernetesRevision } from "./kubernetes-revision.ts";
import { announcesSame, readNodeLease } from "./node-lease.ts";
import type { NodeRecord } from "./node-record.ts";

export interface NodeChange {
  readonly event?: LeaseEvent;
  readonly unreadable?: UnreadableLease;
}

export class NodeLeases {
  readonly #names: AnnotationNames;
  #leases = new Map<string, Lease>();
  #unreadable = new Map<string, string>();

  constructor(names: AnnotationNames) {
    this.#names = names;
  }

  /** All Nodes but our own. Leases that are as they were stay the same objects. */
  replace(records: readonly NodeRecord[]): {
    readonly leases: readonly Lease[];
    readonly unreadable: readonly UnreadableLease[];
  } {
    const before = this.#leases;
    this.#leases = new Map();
    this.#unreadable = new Map();
    for (const record of records) {
      const read = readNodeLease(this.#names, record);
      if (read === "unmanaged") continue;
      const known = before.get(record.name);
      if ("reason" in read) {
        this.#unreadable.set(record.name, read.reason);
        // As the table, which keeps what it knew.
        if (known !== undefined) this.#leases.set(record.name, known);
      } else {
        this.#leases.set(record.name, known !== undefined && announcesSame(known, read.lease) ? known : read.lease);
      }
    }
    return {
      leases: [...this.#leases].filter(([name]) => !this.#unreadable.has(name)).map(([, lease]) => lease),
      unreadable: [...this.#unreadable].map(([key, reason]) => ({ key, reason })),
    };
  }

  /** Undefined when nothing of a lease has changed. */
  put(record: NodeRecord): NodeChange | undefined {
    const { name, resourceVersion } = record;
    const read = readNodeLease(this.#names, record);
    if (read === "unmanaged") return this.remove(name, resourceVersion);
    if ("reason" in read) {
      if (this.#unreadable.get(name) === read.reason) return undefined;
      this.#unreadable.set(name, read.reason);
      return { unreadable: { key: name, reason: read.reason } };
    }
    const known = this.#leases.get(name);
    const wasUnreadable = this.#unreadable.delete(name);
    if (known !== undefined && announcesSame(known, read.lease)) {
      return wasUnreadable ? { event: { type: "put", lease: known } } : undefined;
    }
    this.#leases.set(name, read.lease);
    return { event: { type: "put", lease: read.lease } };
  }

  /** Undefined when there was none. */
  remove(name: string, resourceVersion: string): NodeChange | undefined {
    const hadLease = this.#leases.delete(name);
    const wasUnreadable = this.#unreadable.delete(name);
    if (!hadLease && !wasUnreadable) return undefined;
    return { event: { type: "delete", key: name, revision: new KubernetesRevision(resourceVersion) } };
  }
}
