// Events on this host's Node, so that `kubectl describe node` shows what flannel waits for. A courtesy: upstream's
// ClusterRole does not allow it, and the agent needs no answer.
import type { ApiClient } from "../../kube-api/api-client.ts";
import { hasHttpStatus } from "../../kube-api/api-errors.ts";
import { timestamp } from "./node-api.ts";

/** The same is not told again within this time. */
const REPEAT_MS = 3_600_000;
/** Kubernetes refuses longer messages. */
const MAX_MESSAGE_LENGTH = 1_000;

export interface NodeEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
}

export class NodeEvents {
  readonly #client: ApiClient;
  #isForbidden = false;
  #last: { readonly text: string; readonly atMs: number } = { text: "", atMs: 0 };

  constructor(client: ApiClient) {
    this.#client = client;
  }

  /** What cannot be told is not. */
  tell(node: string, { type, reason, message }: NodeEvent, signal: AbortSignal): void {
    const [text, nowMs] = [`${reason} ${message}`, performance.now()];
    if (this.#isForbidden || (this.#last.text === text && nowMs - this.#last.atMs < REPEAT_MS)) return;
    this.#last = { text, atMs: nowMs };
    const at = timestamp();
    const body = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { generateName: `${node}.flannel.`, namespace: "default" },
      // As the kubelet writes it: the name in place of the uid is what `kubectl describe node` looks for.
      involvedObject: { apiVersion: "v1", kind: "Node", name: node, uid: node },
      source: { component: "flanneld", host: node },
      ...{ type, reason, message: message.slice(0, MAX_MESSAGE_LENGTH) },
      ...{ firstTimestamp: at, lastTimestamp: at, count: 1 },
    };
    const subject = { operation: "create an Event", verb: "create", resource: "events" } as const;
    const path = "/api/v1/namespaces/default/events";
    this.#client.call({ ...subject, method: "POST", path, body }, signal).catch((error: unknown) => {
      this.#isForbidden = hasHttpStatus(error, 401, 403);
    });
  }
}
