// What is kept of a Kubernetes Node, which has some 20 KB: name, pod CIDRs, flannel's annotations, one condition; and of its
// metadata alone, where a watch asks for no more. Pure.
import type { AnnotationNames } from "../../config/annotation-prefix.ts";
import { isRecord, itemsOf, memberOf, textOf } from "../../json/untyped-fields.ts";

export interface NodeCondition {
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
}

export interface NodeMetadata {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly createdAtMs: number;
  /** Those of flannel's names that are there, by their full names. */
  readonly annotations: Readonly<Record<string, string>>;
  /** The label `kubernetes.io/hostname`, which kubelets write: nearly always the name, and a list can be of several. */
  readonly hostName?: string;
}

export interface NodeRecord extends NodeMetadata {
  /** As written, at most a few. */
  readonly podCidrs: readonly string[];
  /** `NetworkUnavailable`, if it is there. */
  readonly networkUnavailable?: NodeCondition;
}

/** A hostile Node must not cost more than a real one. */
const MAX_ANNOTATION_LENGTH = 64 * 1024;
const MAX_POD_CIDRS = 8;

/** As the API server writes values of labels; others cannot stand in a selector. */
const LABEL_VALUE = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;

export type NodeReader = (object: unknown) => NodeRecord | undefined;

function readAnnotations(written: unknown, known: readonly string[]): Record<string, string> {
  const annotations: Record<string, string> = {};
  for (const key of known) {
    const value = isRecord(written) ? written[key] : undefined;
    if (typeof value === "string" && value.length <= MAX_ANNOTATION_LENGTH) annotations[key] = value;
  }
  return annotations;
}

/** Undefined for what is no Node. */
export function nodeReader(names: AnnotationNames): NodeReader {
  const readMetadata = metadataReader(names);
  return (object) => {
    const metadata = readMetadata(object);
    if (metadata === undefined) return undefined;
    const networkUnavailable = readCondition(object);
    return {
      ...metadata,
      podCidrs: readPodCidrs(memberOf(object, "spec")),
      ...(networkUnavailable !== undefined && { networkUnavailable }),
    };
  };
}

/** Of Nodes, and of what an API server sends when it was asked for metadata alone. */
export function eitherReader(names: AnnotationNames): (object: unknown) => NodeRecord | NodeMetadata | undefined {
  const [readWhole, readMetadata] = [nodeReader(names), metadataReader(names)];
  return (object) => (memberOf(object, "kind") === "PartialObjectMetadata" ? readMetadata : readWhole)(object);
}

export function isWhole(node: NodeRecord | NodeMetadata): node is NodeRecord {
  return "podCidrs" in node;
}

function metadataReader(names: AnnotationNames): (object: unknown) => NodeMetadata | undefined {
  const known = Object.values(names);
  return (object) => {
    const metadata = memberOf(object, "metadata");
    const name = textOf(memberOf(metadata, "name"));
    if (name === undefined) return undefined;
    const hostName = textOf(memberOf(memberOf(metadata, "labels"), "kubernetes.io/hostname"));
    return {
      name,
      uid: textOf(memberOf(metadata, "uid")) ?? "",
      resourceVersion: textOf(memberOf(metadata, "resourceVersion")) ?? "0",
      createdAtMs: Date.parse(textOf(memberOf(metadata, "creationTimestamp")) ?? "") || 0,
      annotations: readAnnotations(memberOf(metadata, "annotations"), known),
      ...(hostName !== undefined && LABEL_VALUE.test(hostName) && { hostName }),
    };
  };
}

function readPodCidrs(spec: unknown): readonly string[] {
  const list = itemsOf(memberOf(spec, "podCIDRs")).flatMap((cidr) => textOf(cidr) ?? []);
  const single = textOf(memberOf(spec, "podCIDR"));
  return list.length > 0 || single === undefined ? list.slice(0, MAX_POD_CIDRS) : [single];
}

function readCondition(object: unknown): NodeCondition | undefined {
  const conditions = itemsOf(memberOf(memberOf(object, "status"), "conditions"));
  const found = conditions.find((condition) => memberOf(condition, "type") === "NetworkUnavailable");
  if (found === undefined) return undefined;
  const [status = "", reason = "", message = "", lastTransitionTime = ""] = [
    "status",
    "reason",
    "message",
    "lastTransitionTime",
  ].map((field) => textOf(memberOf(found, field)));
  return { status, reason, message, lastTransitionTime };
}
