// What the store's record of this host demands of it (in Kubernetes the Node's annotations): addresses that go before
// the flags. Known before the network is opened, from the store or as remembered.
import { retryUntilDone } from "../../async/retry.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import type { Lease, LeaseAttributes } from "../../lease/lease.ts";
import type { HostAddresses, HostRecord } from "../../store/subnet-store.ts";
import type { StoreSessionEvents, Waiting } from "./store-session.ts";

export class HostDemands {
  readonly #host: HostRecord | undefined;
  readonly #onChanged: () => void;
  #addresses: HostAddresses = {};
  #announced: LeaseAttributes | undefined;
  #isInUse = false;

  /** `host` is missing where the store has no such record. `onChanged`: they are others than those in use. */
  constructor(host: HostRecord | undefined, onChanged: () => void) {
    this.#host = host;
    this.#onChanged = onChanged;
  }

  /** What the session has to call. */
  sessionEvents(signal: AbortSignal): Pick<StoreSessionEvents, "prepare" | "followDemands"> {
    return { prepare: (waiting) => this.#read(waiting), followDemands: () => this.#follow(signal) };
  }

  /** Waits for the store as long as it takes. */
  async #read(waiting: Waiting): Promise<void> {
    const host = this.#host;
    if (host === undefined) return;
    const { addresses, announced } = await retryUntilDone(
      {
        what: "read this host's record in the store",
        event: "lease.unavailable",
        shouldRetry: ({ retryable, code }) => retryable || code === "STORE_UNAUTHORIZED",
        ...waiting,
      },
      () => host.read(waiting.signal),
    );
    this.#announced = announced;
    if (this.#isInUse && !isSame(addresses, this.#addresses)) this.#onChanged();
    else this.#addresses = addresses;
  }

  /** Goes by what an earlier run saved with its lease, unless the store was read already. */
  remember(own: Lease): void {
    if (this.#host !== undefined && this.#announced === undefined) this.#addresses = this.#host.remembered(own);
  }

  /** The options with what is demanded in place of what was given; from now on other demands need a new start. */
  applyTo(options: AgentOptions): AgentOptions {
    this.#isInUse = true;
    return { ...options, ...this.#addresses };
  }

  /** What this host announced before this start. */
  get announced(): LeaseAttributes | undefined {
    return this.#announced;
  }

  /** Runs until `signal`. */
  async #follow(signal: AbortSignal): Promise<void> {
    if (this.#host === undefined) return;
    await this.#host.untilChanged(this.#addresses, signal);
    if (!signal.aborted) this.#onChanged();
  }
}

function isSame(a: HostAddresses, b: HostAddresses): boolean {
  return a.publicIp === b.publicIp && a.publicIpv6 === b.publicIpv6;
}
