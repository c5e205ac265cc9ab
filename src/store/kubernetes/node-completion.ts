// Completes what a watch for metadata tells of Nodes. Their pod CIDRs are no metadata, and an API server never lets those of
// one Node change once they are set: they are remembered for each, and a Node is asked for only where they are not known
// yet. Our own Node is asked for after each write: its conditions count. Pure.
import type { AnnotationNames } from "../../config/annotation-prefix.ts";
import { isLater } from "../../kube-api/resource-version.ts";
import { isWhole, type NodeMetadata, type NodeRecord } from "./node-record.ts";

/** What was last reported of a Node. */
type Known = Pick<NodeRecord, "uid" | "podCidrs" | "resourceVersion" | "annotations">;

/** Which Nodes to ask for: one by its name, or several by the label with the name of their host. */
export interface NodeQuestion {
  readonly nodes: readonly NodeMetadata[];
  readonly selector: Readonly<Record<string, string>>;
  /** An answer must not be older. */
  readonly notBefore: string;
}

export interface NodeAnswer {
  readonly news: readonly NodeRecord[];
  /** It is older than what the watch has told of a Node since. */
  readonly isLate: boolean;
}

/** Their hosts' names, at most 63 characters each, are part of a URL. */
const MAX_NODES_ASKED = 50;

export class NodeCompletion {
  readonly #managed: string;
  readonly #ownName: string;
  readonly #known = new Map<string, Known>();
  readonly #waiting = new Map<string, NodeMetadata>();
  /** Of those that wait, which a question by label did not bring. */
  readonly #unlabelled = new Set<string>();

  constructor(names: AnnotationNames, ownName: string) {
    this.#managed = names.managed;
    this.#ownName = ownName;
  }

  /** All there are. Returns those that are whole, as a list's are. */
  replace(nodes: readonly (NodeRecord | NodeMetadata)[]): NodeRecord[] {
    this.#known.clear();
    this.#waiting.clear();
    this.#unlabelled.clear();
    const records = nodes.filter(isWhole);
    for (const record of records) this.#know(record);
    return records;
  }

  /** A Node that was written: news, or none, or to be asked for. */
  put(node: NodeRecord | NodeMetadata): NodeRecord | "known" | "waiting" {
    const known = this.#known.get(node.name);
    // An answer has told it already.
    if (known !== undefined && (known.resourceVersion === node.resourceVersion || isOlder(node, known))) return "known";
    if (isWhole(node)) return this.#know(node);
    const podCidrs = known?.uid === node.uid ? known.podCidrs : [];
    const isPeer = node.name !== this.#ownName;
    const isEnough = podCidrs.length > 0 || node.annotations[this.#managed] !== "true";
    if (isPeer && isEnough) {
      // Nearly every event: a kubelet has written its conditions.
      const isSame = known?.uid === node.uid && isSameText(known.annotations, node.annotations);
      const record = this.#know({ ...node, podCidrs });
      return isSame ? "known" : record;
    }
    this.#waiting.set(node.name, node);
    return "waiting";
  }

  /** A Node that was deleted. False when it has been made again since, as an answer told. */
  remove(node: NodeMetadata): boolean {
    const known = this.#known.get(node.name);
    if (known !== undefined && isOlder(node, known)) return false;
    this.#known.delete(node.name);
    this.#settle(node.name);
    return true;
  }

  /** Undefined when everything is known. */
  question(): NodeQuestion | undefined {
    const labelled: NodeMetadata[] = [];
    let single: NodeMetadata | undefined;
    for (const node of this.#waiting.values()) {
      const isLabelled = node.hostName !== undefined && !this.#unlabelled.has(node.name);
      if (isLabelled && labelled.length < MAX_NODES_ASKED) labelled.push(node);
      else if (!isLabelled) single ??= node;
    }
    if (labelled.length > 1) {
      const hosts = [...new Set(labelled.map(({ hostName }) => hostName))].join(",");
      const selector = { labelSelector: `kubernetes.io/hostname in (${hosts})` };
      return { nodes: labelled, selector, notBefore: latestOf(labelled) };
    }
    const node = single ?? labelled[0];
    if (node === undefined) return undefined;
    const selector = { fieldSelector: `metadata.name=${node.name}` };
    return { nodes: [node], selector, notBefore: node.resourceVersion };
  }

  /** What the server answered, as of `resourceVersion`. What it left open is asked again. */
  answer({ nodes, selector }: NodeQuestion, records: readonly NodeRecord[], resourceVersion: string): NodeAnswer {
    const found = new Map(records.map((record) => [record.name, record]));
    const news: NodeRecord[] = [];
    let isLate = false;
    for (const { name } of nodes) {
      const waiting = this.#waiting.get(name);
      // Deleted meanwhile, or listed again.
      if (waiting === undefined) continue;
      const record = found.get(name);
      const complete = record && this.#complete(waiting, record);
      if (complete !== undefined) news.push(complete);
      else if (record !== undefined || isLater(waiting.resourceVersion, resourceVersion)) isLate = true;
      else if ("labelSelector" in selector) this.#unlabelled.add(name);
      // It is gone, which the watch tells.
      else this.#settle(name);
    }
    return { news, isLate };
  }

  /** Undefined while the answer is older than what the watch has told. */
  #complete(waiting: NodeMetadata, record: NodeRecord): NodeRecord | undefined {
    if (!isOlder(record, waiting)) return this.#know(record);
    const isSame = record.uid === waiting.uid && record.podCidrs.length > 0 && record.name !== this.#ownName;
    return isSame ? this.#know({ ...waiting, podCidrs: record.podCidrs }) : undefined;
  }

  #know(record: NodeRecord): NodeRecord {
    const { uid, podCidrs, resourceVersion, annotations } = record;
    this.#known.set(record.name, { uid, podCidrs, resourceVersion, annotations });
    this.#settle(record.name);
    return record;
  }

  #settle(name: string): void {
    this.#waiting.delete(name);
    this.#unlabelled.delete(name);
  }
}

function isSameText(a: NodeMetadata["annotations"], b: NodeMetadata["annotations"]): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

type Versioned = Pick<NodeRecord, "resourceVersion">;

function isOlder(one: Versioned, than: Versioned): boolean {
  return isLater(than.resourceVersion, one.resourceVersion);
}

function latestOf(nodes: readonly NodeMetadata[]): string {
  return nodes.reduce(
    (latest, node) => (isOlder({ resourceVersion: latest }, node) ? node.resourceVersion : latest),
    "0",
  );
}
