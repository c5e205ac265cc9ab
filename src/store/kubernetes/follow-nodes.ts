// Follows all Nodes by a watch for their metadata, and asks for what that leaves open. So the API server sends a tenth of
// what kubelets write, and a request more for each Node that joins and each write of our own. Where it takes no such
// questions: by a watch for whole Nodes.
import { setTimeout as delay } from "node:timers/promises";
import { BackOff } from "../../async/back-off.ts";
import { LatestOnly } from "../../async/latest-only.ts";
import { describeError } from "../../errors.ts";
import { hasHttpStatus, retryAfterMs } from "../../kube-api/api-errors.ts";
import { type WatchNews, type WatchTimings, watchObjects } from "../../kube-api/watch-objects.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { NodeApi } from "./node-api.ts";
import { NodeCompletion, type NodeQuestion } from "./node-completion.ts";
import type { NodeMetadata, NodeRecord } from "./node-record.ts";

export interface NodeFollower {
  readonly api: NodeApi;
  readonly ownName: string;
  readonly timings: WatchTimings;
  readonly logger: Logger;
  take(news: WatchNews<NodeRecord>): void;
  /** Resolves when there is room for more news of the watch. */
  room(): Promise<void>;
}

/** So long whole Nodes are followed before their metadata are tried again: rights may have been given meanwhile. */
const WHOLE_FOR_MS = 3_600_000;

/** Resolves when `signal` aborts. */
export async function followNodes(follower: NodeFollower, signal: AbortSignal): Promise<void> {
  const { api, timings, logger } = follower;
  while (!signal.aborted) {
    const refusal = await followMetadata(follower, signal);
    if (signal.aborted) return;
    const message = "the API server refuses to list a selection of Nodes: following whole Nodes, which costs it more";
    logger.warn("node.selection-refused", message, { error: describeError(refusal) });
    const inner = AbortSignal.any([signal, AbortSignal.timeout(WHOLE_FOR_MS)]);
    for await (const news of watchObjects(api.client, api.target(), inner, timings)) {
      follower.take(news);
      await follower.room();
    }
  }
}

/** Returns why the server refuses its questions; undefined when `signal` aborts. */
async function followMetadata(follower: NodeFollower, signal: AbortSignal): Promise<unknown> {
  const { api, ownName, timings } = follower;
  const refused = new AbortController();
  const inner = AbortSignal.any([signal, refused.signal]);
  const completion = new NodeCompletion(api.names, ownName);
  await using asking = new LatestOnly(async () => {
    await complete(completion, follower, inner).catch((error: unknown) => refused.abort(error));
  });
  for await (const news of watchObjects(api.client, api.metadataTarget(), inner, timings)) {
    const whole = completed(completion, news);
    if (whole === undefined) asking.request();
    else follower.take(whole);
    await follower.room();
  }
  return refused.signal.reason;
}

/** Asks until everything is known. Rejects when the server refuses such questions. */
async function complete(completion: NodeCompletion, follower: NodeFollower, signal: AbortSignal): Promise<void> {
  const { timings } = follower;
  const backOff = new BackOff({ firstMs: timings.backOffFirstMs, maxMs: timings.backOffMaxMs });
  const failures = new QuestionFailures(follower);
  for (let asked = completion.question(); asked !== undefined; asked = completion.question()) {
    const waitMs = await ask(asked, completion, follower, signal).then(
      (isLate) => {
        failures.clear();
        if (isLate) return backOff.nextMs();
        backOff.reset();
        return 0;
      },
      (error: unknown) => {
        if (isRefusal(error)) throw error;
        if (!signal.aborted) failures.add(error);
        return retryAfterMs(error) ?? backOff.nextMs();
      },
    );
    if (waitMs > 0) await delay(waitMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
  }
}

/** Returns whether the answer is older than what the watch has told. */
async function ask(
  asked: NodeQuestion,
  completion: NodeCompletion,
  { api, take }: NodeFollower,
  signal: AbortSignal,
): Promise<boolean> {
  const { objects, resourceVersion } = await api.select(asked.selector, asked.notBefore, signal);
  const { news, isLate } = completion.answer(asked, objects, resourceVersion);
  for (const object of news) take({ type: "put", object, resourceVersion: object.resourceVersion });
  return isLate;
}

function isRefusal(error: unknown): boolean {
  return hasHttpStatus(error, 400, 403, 404, 405, 422);
}

/** The watch reports a server that is away. This reports, once, one that only leaves questions open: Nodes that join are missing. */
class QuestionFailures {
  readonly #logger: Logger;
  readonly #toleratedMs: number;
  /** `said`: and logged. */
  #state: "none" | { readonly sinceMs: number } | "said" = "none";

  constructor({ logger, timings }: NodeFollower) {
    this.#logger = logger;
    this.#toleratedMs = timings.silenceMs;
  }

  add(error: unknown): void {
    if (this.#state === "none") this.#state = { sinceMs: performance.now() };
    if (this.#state === "said" || performance.now() - this.#state.sinceMs < this.#toleratedMs) return;
    this.#state = "said";
    const message = "the API server does not list the Nodes that joined or were written; retrying";
    this.#logger.warn("node.selection-failed", message, { error: describeError(error) });
  }

  clear(): void {
    if (this.#state === "said") this.#logger.info("node.selection-works", "the API server lists selected Nodes again");
    this.#state = "none";
  }
}

/** Undefined: not yet. */
function completed(
  completion: NodeCompletion,
  news: WatchNews<NodeRecord | NodeMetadata>,
): WatchNews<NodeRecord> | undefined {
  switch (news.type) {
    case "list":
      return { ...news, objects: completion.replace(news.objects) };
    case "put": {
      const object = completion.put(news.object);
      if (object === "waiting") return undefined;
      const { resourceVersion } = news;
      return object === "known" ? { type: "contact", resourceVersion } : { ...news, object };
    }
    case "delete":
      if (completion.remove(news.object)) return { ...news, object: { podCidrs: [], ...news.object } };
      return { type: "contact", resourceVersion: news.resourceVersion };
    default:
      return news;
  }
}
