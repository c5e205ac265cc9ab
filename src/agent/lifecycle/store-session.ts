// The agent's conversation with the store, from the first look at the configuration to the endless watch:
// configuration → lease → watch. It goes on for as long as the agent runs; what it learns it hands to the agent.

import { BackOff } from "../../async/back-off.ts";
import { type RetryOptions, retryUntilDone } from "../../async/retry.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import { describeError, FlannelError, hasCode } from "../../errors.ts";
import type { LeaseChange, OwnLease, Revision } from "../../lease/lease.ts";
import type { AcquireOutcome, LeaseRequest, NetworkConfigDocument, SubnetStore } from "../../store/subnet-store.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import { measured } from "./store-requests.ts";

export interface StoreSessionEvents {
  /** What is wrong with a configuration to begin with; undefined when there is something to begin with. */
  faultOf(document: NetworkConfigDocument): FlannelError | undefined;
  /** Learns what the store demands of this host. Returns when a network may be opened. */
  prepare(waiting: Waiting): Promise<void>;
  /** Follows that until the agent ends. */
  followDemands(): Promise<void>;
  /** First and every later version; undefined when the key was deleted. Returns when the agent can announce itself. */
  onConfig(document: NetworkConfigDocument | undefined): Promise<void>;
  /** Takes the first lease; waits for it as long as it takes. */
  acquire(waiting: Waiting): Promise<OwnLease>;
  onAcquired(lease: OwnLease): void;
  onChange(change: LeaseChange): void;
  /** Why configuration or lease cannot be had yet; undefined when what was waited for came. */
  onWaiting(reason: string | undefined): void;
}

/**
 * Runs until `signal`. Rejects only with what no waiting cures: a configuration that this host cannot serve, and refused
 * credentials unless `waitsForAccess`.
 */
export async function runStoreSession(
  store: SubnetStore,
  events: StoreSessionEvents,
  waits: Pick<Waiting, "logger" | "signal" | "waitsForAccess" | "metrics">,
): Promise<void> {
  const { signal } = waits;
  const waiting: Waiting = { ...waits, onWaiting: (reason) => events.onWaiting(reason) };
  const document = await firstConfig(store, events, waiting);
  await events.prepare(waiting);
  await events.onConfig(document);
  // A wait for a lease may be over with another configuration.
  await Promise.all([
    holdLease(store, events, waiting),
    watchConfig(store, document.revision, events, signal),
    events.followDemands(),
  ]);
}

async function holdLease(store: SubnetStore, events: StoreSessionEvents, waiting: Waiting): Promise<void> {
  events.onAcquired(await events.acquire(waiting));
  await watchLeases(store, events, waiting.signal);
}

/** What waiting needs besides what is waited for. */
export interface Waiting extends Pick<RetryOptions, "logger" | "signal" | "onWaiting"> {
  /**
   * Credentials may become good without this process ending: an operator lets the host join again. And while there is a
   * remembered state to go on with, it is better to forward and to wait than to end.
   */
  readonly waitsForAccess?: boolean;
  readonly metrics?: MetricsRecorder;
}

function mayBeCured(error: FlannelError, { waitsForAccess = false }: Waiting): boolean {
  return error.retryable || (waitsForAccess && hasCode(error, "STORE_UNAUTHORIZED"));
}

/** Refused credentials become good by themselves: certificates are renewed, tokens and roles written after us. */
export function waitsForAccess({ store, etcd }: AgentOptions): boolean {
  return store === "kubernetes" || etcd.renewsCertificate === true;
}

/** Waits for the store, for the key, and for a configuration that is right: a wrong one is corrected where it stands. */
async function firstConfig(
  store: SubnetStore,
  events: StoreSessionEvents,
  waiting: Waiting,
): Promise<NetworkConfigDocument> {
  const backOff = new BackOff({ firstMs: 500, maxMs: 10_000 });
  // That it was read again is no reason to be silent about what is wrong with it.
  const onWaiting = (reason: string | undefined) => {
    if (reason !== undefined) events.onWaiting(reason);
  };
  for (;;) {
    const document = await readConfig(store, { ...waiting, onWaiting });
    const fault = events.faultOf(document);
    if (fault === undefined) {
      events.onWaiting(undefined);
      return document;
    }
    events.onWaiting(`the network configuration in the store is wrong: ${describeError(fault)}`);
    await untilChanged(store, document.revision, backOff.nextMs(), waiting.signal);
  }
}

/** Returns at the latest after `delayMs`: meanwhile a warm start may have begun with what is remembered. */
async function untilChanged(store: SubnetStore, after: Revision, delayMs: number, signal: AbortSignal): Promise<void> {
  const end = AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(delayMs))]);
  const versions = store.watchNetworkConfig(after, end)[Symbol.asyncIterator]();
  try {
    await versions.next();
  } finally {
    await versions.return?.();
  }
  signal.throwIfAborted();
}

async function readConfig(store: SubnetStore, waiting: Waiting): Promise<NetworkConfigDocument> {
  return retryUntilDone(
    {
      what: "read the network configuration",
      event: "config.unavailable",
      shouldRetry: (error) => mayBeCured(error, waiting) || hasCode(error, "CONFIG_MISSING"),
      maxDelayMs: 1_000,
      ...waiting,
    },
    () => measured(waiting.metrics, "config", () => store.networkConfig(waiting.signal)),
  );
}

/** Waits for the store and for a free subnet; both may come. */
export async function acquireLease(
  store: Pick<SubnetStore, "acquire">,
  request: () => LeaseRequest,
  waiting: Waiting,
): Promise<{ lease: OwnLease; outcome: AcquireOutcome }> {
  return retryUntilDone(
    {
      what: "lease a subnet",
      event: "lease.unavailable",
      shouldRetry: (error) => mayBeCured(error, waiting) || hasCode(error, "POOL_EXHAUSTED", "LEASE_LOST"),
      ...waiting,
    },
    () => measured(waiting.metrics, "acquire", () => store.acquire(request(), waiting.signal)),
  );
}

async function watchLeases(store: SubnetStore, events: StoreSessionEvents, signal: AbortSignal): Promise<void> {
  for await (const change of store.watch(signal)) events.onChange(change);
  ended("lease", signal);
}

async function watchConfig(
  store: SubnetStore,
  after: Revision,
  events: StoreSessionEvents,
  signal: AbortSignal,
): Promise<void> {
  for await (const document of store.watchNetworkConfig(after, signal)) await events.onConfig(document);
  ended("configuration", signal);
}

/** A watch that ends by itself would leave us deaf without a sign. */
function ended(which: string, signal: AbortSignal): void {
  signal.throwIfAborted();
  throw new FlannelError("INTERNAL", `the ${which} watch ended unexpectedly`);
}
