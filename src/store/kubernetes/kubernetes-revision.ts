// When something was written in Kubernetes. Resource versions are numbers of one order (they come from one etcd); which
// of two Nodes claims a subnet later is decided by when they were created, since every heartbeat writes a Node. Pure.
import { isLater } from "../../kube-api/resource-version.ts";
import type { Revision } from "../../lease/lease.ts";

/** The Node a lease stands on. */
export interface RevisedNode {
  readonly uid: string;
  readonly createdAtMs: number;
}

export class KubernetesRevision implements Revision {
  readonly #resourceVersion: string;
  readonly #node: RevisedNode | undefined;

  /** Without `node`: of the whole store. */
  constructor(resourceVersion: string, node?: RevisedNode) {
    this.#resourceVersion = resourceVersion;
    this.#node = node;
  }

  isAfter(other: Revision): boolean {
    if (!(other instanceof KubernetesRevision)) return false;
    const [own, others] = [this.#node, other.#node];
    if (own !== undefined && others !== undefined && own.uid !== others.uid) {
      return own.createdAtMs === others.createdAtMs ? own.uid > others.uid : own.createdAtMs > others.createdAtMs;
    }
    return isLater(this.#resourceVersion, other.#resourceVersion);
  }

  /** Of the Node it is about; 0 where there is none. */
  get createdAtMs(): number {
    return this.#node?.createdAtMs ?? 0;
  }

  toString(): string {
    return this.#resourceVersion;
  }
}

/** When a Node was created: the same for all its writes. */
export function nodeCreation(node: RevisedNode): KubernetesRevision {
  return new KubernetesRevision("0", node);
}
