// Tells Kubernetes how this host's network is: the condition of its Node, and Events about what stands in the way.
import { describeError, isCancelled } from "../../errors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { oneLine } from "../../terminal/foreign-text.ts";
import type { HostStateNews } from "../subnet-store.ts";
import { type NodeApi, timestamp } from "./node-api.ts";
import { ConditionPlan, newCondition, type WantedCondition } from "./node-condition.ts";
import { NodeEvents } from "./node-events.ts";
import type { OwnNode } from "./own-node.ts";

/** Kubernetes takes messages of any length; people do not. */
const MAX_MESSAGE_LENGTH = 500;
/** A failure is tried again by the next news after this time. */
const RETRY_MS = 10_000;

const available: WantedCondition = {
  status: "False",
  reason: "FlannelIsUp",
  message: "Flannel is running on this node",
};

export class NodeReport implements AsyncDisposable {
  readonly #api: NodeApi;
  readonly #node: OwnNode;
  readonly #setsCondition: boolean;
  readonly #logger: Logger;
  readonly #events: NodeEvents;
  readonly #plan = new ConditionPlan();
  readonly #closed = new AbortController();
  #writing: Promise<void> | undefined;
  #failedAtMs = Number.NEGATIVE_INFINITY;
  #saidFailure = "";
  /** Undefined while the network is available. */
  #trouble: { readonly sinceMs: number; readonly isReported: boolean } | undefined;

  constructor(api: NodeApi, node: OwnNode, setsCondition: boolean, logger: Logger) {
    this.#api = api;
    this.#node = node;
    this.#setsCondition = setsCondition;
    this.#logger = logger;
    this.#events = new NodeEvents(api.client);
  }

  /** To be called with the state of this moment, again and again. */
  follow(news: HostStateNews): void {
    this.#reportTrouble(news);
    const record = this.#node.record;
    const nowMs = performance.now();
    if (!this.#setsCondition || record === undefined || this.#writing !== undefined) return;
    if (nowMs - this.#failedAtMs < RETRY_MS) return;
    const wanted = wantedCondition(news);
    if (!this.#plan.isDue(wanted, record.networkUnavailable, nowMs)) return;
    const condition = newCondition(wanted, record.networkUnavailable, timestamp());
    this.#writing = this.#write(record.name, wanted, condition).finally(() => {
      this.#writing = undefined;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    await this.#writing;
  }

  async #write(
    name: string,
    wanted: WantedCondition,
    condition: Parameters<NodeApi["patchCondition"]>[1],
  ): Promise<void> {
    try {
      this.#node.see(await this.#api.patchCondition(name, condition, this.#closed.signal));
      this.#plan.written(wanted, performance.now());
      this.#saidFailure = "";
      const message = `wrote the condition NetworkUnavailable=${wanted.status} of Node ${name}`;
      this.#logger.info("node.condition", message, { reason: wanted.reason, message: wanted.message });
    } catch (error) {
      if (this.#closed.signal.aborted || isCancelled(error)) return;
      this.#failedAtMs = performance.now();
      const text = describeError(error);
      if (text === this.#saidFailure) return;
      this.#saidFailure = text;
      this.#logger.warn("node.not-written", "cannot write the condition of this Node; retrying", { error: text });
    }
  }

  /** One Event when trouble has lasted, and one when it is over. */
  #reportTrouble(news: HostStateNews): void {
    const name = this.#node.knownName;
    if (name === undefined) return;
    if (news.isAvailable) {
      if (this.#trouble?.isReported === true) this.#sendEvent(name, "Normal", "FlannelIsUp", available.message);
      this.#trouble = undefined;
      return;
    }
    this.#trouble ??= { sinceMs: performance.now(), isReported: false };
    if (performance.now() - this.#trouble.sinceMs < RETRY_MS) return;
    this.#trouble = { ...this.#trouble, isReported: true };
    this.#sendEvent(name, "Warning", "FlannelNotReady", messageOf(news));
  }

  #sendEvent(name: string, type: "Normal" | "Warning", reason: string, message: string): void {
    this.#events.send(name, { type, reason, message }, this.#closed.signal);
  }
}

function wantedCondition(news: HostStateNews): WantedCondition {
  if (news.isAvailable) return available;
  return { status: "True", reason: "FlannelNotReady", message: messageOf(news) };
}

function messageOf({ reasons }: HostStateNews): string {
  // kubectl shows it as it is.
  const text = oneLine(reasons.join("; "));
  return text.length > MAX_MESSAGE_LENGTH ? `${text.slice(0, MAX_MESSAGE_LENGTH - 3)}...` : text;
}
