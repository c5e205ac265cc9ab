// The agent's conversation with the store, from the first look at the configuration to the endless watch:
// configuration → lease → watch. It goes on for as long as the agent runs; what it learns it hands to the agent.
import { FlannelError, hasCode } from "../errors.ts";
import type { LeaseChange, OwnLease } from "../lease/lease.ts";
import type { AcquireOutcome, LeaseRequest, NetworkConfigDocument, SubnetStore } from "../lease/subnet-store.ts";
import type { Logger } from "../telemetry/logger.ts";
import { retryUntilDone } from "./retry.ts";

export interface StoreSessionEvents {
  /** First and every later version; undefined when the key was deleted. Returns when the agent can announce itself. */
  onConfig(document: NetworkConfigDocument | undefined): Promise<void>;
  /** What to ask a lease for, with what the agent knows now. */
  leaseRequest(): LeaseRequest;
  onAcquired(lease: OwnLease, outcome: AcquireOutcome): void;
  onChange(change: LeaseChange): void;
}

/** How a lease was come by, for the log. */
export const outcomeText: Record<AcquireOutcome, string> = {
  reused: "took up our lease again:",
  previous: "leased the subnet of subnet.env again:",
  remembered: "recognised our own lease:",
  allocated: "leased",
};

/** Runs until `signal`. Rejects only with what no waiting cures (refused credentials, a configuration in error). */
export async function runStoreSession(
  store: SubnetStore,
  events: StoreSessionEvents,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  const document = await readConfig(store, logger, signal);
  await events.onConfig(document);
  const { lease, outcome } = await acquireLease(store, () => events.leaseRequest(), logger, signal);
  events.onAcquired(lease, outcome);
  await Promise.all([watchLeases(store, events, signal), watchConfig(store, document.revision, events, signal)]);
}

async function readConfig(store: SubnetStore, logger: Logger, signal: AbortSignal): Promise<NetworkConfigDocument> {
  return retryUntilDone(
    {
      what: "read the network configuration",
      event: "config.unavailable",
      shouldRetry: (error) => error.retryable || hasCode(error, "config.missing"),
      maxDelayMs: 1_000,
      logger,
      signal,
    },
    () => store.networkConfig(signal),
  );
}

/** Waits for the store and for a free subnet; both may come. */
export async function acquireLease(
  store: SubnetStore,
  request: () => LeaseRequest,
  logger: Logger,
  signal: AbortSignal,
): Promise<{ lease: OwnLease; outcome: AcquireOutcome }> {
  return retryUntilDone(
    {
      what: "lease a subnet",
      event: "lease.unavailable",
      shouldRetry: (error) => error.retryable || hasCode(error, "pool.exhausted", "lease.conflict", "lease.lost"),
      logger,
      signal,
    },
    () => store.acquire(request(), signal),
  );
}

async function watchLeases(store: SubnetStore, events: StoreSessionEvents, signal: AbortSignal): Promise<void> {
  for await (const change of store.watch(signal)) events.onChange(change);
  ended("lease", signal);
}

async function watchConfig(
  store: SubnetStore,
  after: bigint,
  events: StoreSessionEvents,
  signal: AbortSignal,
): Promise<void> {
  for await (const document of store.watchNetworkConfig(after, signal)) await events.onConfig(document);
  ended("configuration", signal);
}

/** A watch that ends by itself would leave us deaf without a sign. */
function ended(which: string, signal: AbortSignal): void {
  signal.throwIfAborted();
  throw new FlannelError("internal", `the ${which} watch ended although nobody stopped it`);
}
