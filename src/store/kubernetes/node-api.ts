// The requests that flannel makes about Nodes, and no others: upstream's ClusterRole allows exactly these.
import { type AnnotationNames, annotationNames } from "../../config/annotation-prefix.ts";
import { describeError, FlannelError } from "../../errors.ts";
import { memberOf, textOf } from "../../json/untyped-fields.ts";
import type { ApiClient } from "../../kube-api/api-client.ts";
import { hasHttpStatus } from "../../kube-api/api-errors.ts";
import type { ListedObjects } from "../../kube-api/list-objects.ts";
import { listSelected } from "../../kube-api/list-objects.ts";
import type { WatchTarget } from "../../kube-api/watch-objects.ts";
import type { AnnotationPatch } from "./node-annotations.ts";
import { eitherReader, type NodeCondition, type NodeMetadata, type NodeRecord, nodeReader } from "./node-record.ts";

/** How a pod finds out which Node it runs on. */
export interface OwnNodeOptions {
  readonly nodeName?: string;
  readonly pod?: { readonly namespace: string; readonly name: string };
}

/** Throws `CONFIG_INVALID`. */
export function annotationNamesOf({ annotationPrefix }: { readonly annotationPrefix: string }): AnnotationNames {
  try {
    return annotationNames(annotationPrefix);
  } catch (error) {
    const message = `--kube-annotation-prefix ${JSON.stringify(annotationPrefix.slice(0, 100))} ${describeError(error)}`;
    throw new FlannelError("CONFIG_INVALID", message);
  }
}

const METADATA_ALONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const STRATEGIC_MERGE = "application/strategic-merge-patch+json";

export class NodeApi {
  readonly client: ApiClient;
  readonly names: AnnotationNames;
  readonly #read: (object: unknown) => NodeRecord | undefined;

  constructor(client: ApiClient, names: AnnotationNames) {
    this.client = client;
    this.names = names;
    this.#read = nodeReader(names);
  }

  /** All Nodes, or the one of that name. */
  target(name?: string): WatchTarget<NodeRecord> {
    const fieldSelector = name === undefined ? undefined : `metadata.name=${name}`;
    return {
      path: "/api/v1/nodes",
      resource: "nodes",
      // Nine tenths of a Node.
      unread: ["images", "managedFields"],
      read: this.#read,
      ...(fieldSelector !== undefined && { fieldSelector }),
    };
  }

  /** All Nodes; after the list their metadata alone, where the server can do that: a tenth of what kubelets write. */
  metadataTarget(): WatchTarget<NodeRecord | NodeMetadata> {
    return { ...this.target(), read: eitherReader(this.names), watchAccept: METADATA_ALONE };
  }

  /** The Nodes that `selector` picks, as they were at `notBefore` or later. */
  select(
    selector: Readonly<Record<string, string>>,
    notBefore: string,
    signal: AbortSignal,
  ): Promise<ListedObjects<NodeRecord>> {
    return listSelected(this.client, this.target(), { ...selector, notBefore }, signal);
  }

  /** `SUBNET_UNASSIGNED` while there is no such Node. */
  async get(name: string, signal: AbortSignal): Promise<NodeRecord> {
    const subject = { operation: `read Node ${name}`, verb: "get", resource: "nodes" } as const;
    try {
      return this.#checked(await this.client.call({ ...subject, method: "GET", path: pathOf(name) }, signal), name);
    } catch (error) {
      throw hasHttpStatus(error, 404) ? missing(name) : error;
    }
  }

  async patchAnnotations(name: string, annotations: AnnotationPatch, signal: AbortSignal): Promise<NodeRecord> {
    return await this.#patchStatus(
      name,
      `write the annotations of Node ${name}`,
      { metadata: { annotations } },
      signal,
    );
  }

  async patchCondition(name: string, condition: NodeCondition, signal: AbortSignal): Promise<NodeRecord> {
    const conditions = [{ type: "NetworkUnavailable", ...condition, lastHeartbeatTime: timestamp() }];
    const operation = `write the condition NetworkUnavailable of Node ${name}`;
    return await this.#patchStatus(name, operation, { status: { conditions } }, signal);
  }

  /** Takes away the condition, as if no network add-on had ever been there. */
  async removeCondition(name: string, signal: AbortSignal): Promise<NodeRecord> {
    const conditions = [{ type: "NetworkUnavailable", $patch: "delete" }];
    const operation = `remove the condition NetworkUnavailable of Node ${name}`;
    return await this.#patchStatus(name, operation, { status: { conditions } }, signal);
  }

  /** The name of the Node that a pod runs on. */
  async nodeOfPod({ namespace, name }: NonNullable<OwnNodeOptions["pod"]>, signal: AbortSignal): Promise<string> {
    const subject = { operation: `read pod ${namespace}/${name}`, verb: "get", resource: "pods" } as const;
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
    const pod = await this.client.call({ ...subject, method: "GET", path }, signal);
    const nodeName = textOf(memberOf(memberOf(pod, "spec"), "nodeName"));
    if (nodeName !== undefined) return nodeName;
    const message = `pod ${namespace}/${name} has no spec.nodeName, which names this host's Node`;
    throw new FlannelError("STORE_UNAVAILABLE", message, { retryable: true });
  }

  async #patchStatus(name: string, operation: string, body: unknown, signal: AbortSignal): Promise<NodeRecord> {
    const subject = { operation, verb: "patch", resource: "nodes/status" } as const;
    const path = `${pathOf(name)}/status`;
    const request = { ...subject, method: "PATCH", path, body, contentType: STRATEGIC_MERGE } as const;
    try {
      return this.#checked(await this.client.call(request, signal), name);
    } catch (error) {
      throw hasHttpStatus(error, 404) ? missing(name) : error;
    }
  }

  #checked(answer: unknown, name: string): NodeRecord {
    const record = this.#read(answer);
    if (record?.name === name) return record;
    throw new FlannelError("STORE_UNAVAILABLE", `the API server did not answer with Node ${name}`, { retryable: true });
  }
}

function pathOf(name: string): string {
  return `/api/v1/nodes/${encodeURIComponent(name)}`;
}

function missing(name: string): FlannelError {
  const message = `there is no Node ${name}: its kubelet has not registered yet, it was deleted, or NODE_NAME is not the Node's name`;
  return new FlannelError("SUBNET_UNASSIGNED", message, { retryable: true });
}

/** As Kubernetes writes times: whole seconds. */
export function timestamp(atMs = Date.now()): string {
  return `${new Date(atMs).toISOString().slice(0, 19)}Z`;
}
