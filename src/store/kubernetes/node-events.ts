// Events on this host's Node, so that `kubectl describe node` shows what flannel waits for. A courtesy: upstream's
// ClusterRole does not allow it, and the agent needs no answer.
import type { ApiClient } from "../../kube-api/api-client.ts";
import { hasHttpStatus } from "../../kube-api/api-errors.ts";
import { timestamp } from "./node-api.ts";

/** The same is not reported again within this time. */
const REPEAT_MS = 3_600_000;
/** Between two warnings, whether they were reported or not: their words may change at every look. */
const PAUSE_MS = 10_000;
/** After a refusal: the right may be granted, or the token renewed, while the agent runs. */
const REFUSED_PAUSE_MS = 600_000;
/** Kubernetes refuses longer messages. */
const MAX_MESSAGE_LENGTH = 1_000;

export interface NodeEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
}

export class NodeEvents {
  readonly #client: ApiClient;
  readonly #now: () => number;
  #refusedUntilMs = Number.NEGATIVE_INFINITY;
  #nextWarningAtMs = Number.NEGATIVE_INFINITY;
  #last: { readonly text: string; readonly atMs: number } | undefined;

  constructor(client: ApiClient, now: () => number = () => performance.now()) {
    this.#client = client;
    this.#now = now;
  }

  /** To be called again and again with what is true: what could not be reported is reported later, if it is still true. */
  send(node: string, { type, reason, message }: NodeEvent, signal: AbortSignal): void {
    const [text, nowMs] = [`${reason} ${message}`, this.#now()];
    if (nowMs < this.#refusedUntilMs || (type === "Warning" && nowMs < this.#nextWarningAtMs)) return;
    if (this.#last?.text === text && nowMs - this.#last.atMs < REPEAT_MS) return;
    const last = { text, atMs: nowMs };
    this.#last = last;
    this.#nextWarningAtMs = nowMs + PAUSE_MS;
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
      if (hasHttpStatus(error, 401, 403)) this.#refusedUntilMs = this.#now() + REFUSED_PAUSE_MS;
      if (this.#last === last) this.#last = undefined;
    });
  }
}
