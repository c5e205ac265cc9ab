// How large the database may grow: beyond that keys are not written and leases not granted, as in etcd. Deletions go on, and
// history is forgotten early, so that the store gets out of it by itself where the keys alone are not too many.
import { refusals } from "../grpc/rpc-error.ts";

/** Half of etcd's: flannel's keys of 10,000 hosts are a few megabytes. */
export const DEFAULT_QUOTA_BYTES = 1024 * 1024 * 1024;

/** What a key needs besides its bytes, by etcd's reckoning. */
const KEY_OVERHEAD_BYTES = 512;
/** From here on history is forgotten early. */
const SCARCE_PERCENT = 80n;

export class Quota {
  readonly #maxBytes: bigint;
  readonly #onFull: (maxBytes: bigint) => void;
  #state: "free" | "scarce" | "full" = "free";

  /** `onFull`: once, each time that writes begin to be refused. */
  constructor(maxBytes: number, onFull: (maxBytes: bigint) => void) {
    this.#maxBytes = BigInt(maxBytes);
    this.#onFull = onFull;
  }

  /** The last write that needed room found none. */
  get isFull(): boolean {
    return this.#state === "full";
  }

  get isScarce(): boolean {
    return this.#state !== "free";
  }

  /** For one transaction of the database; `usedBytes` is asked at most once. */
  begin(usedBytes: () => bigint): QuotaRoom {
    let used: bigint | undefined;
    return {
      take: (bytes) => {
        used ??= usedBytes();
        const wanted = used + BigInt(bytes);
        if (wanted > this.#maxBytes) {
          if (!this.isFull) this.#onFull(this.#maxBytes);
          this.#state = "full";
          throw refusals.noSpace();
        }
        used = wanted;
        this.#state = wanted * 100n > this.#maxBytes * SCARCE_PERCENT ? "scarce" : "free";
      },
    };
  }
}

export interface QuotaRoom {
  /** Throws `noSpace`; to be called before anything is changed. */
  take(bytes: number): void;
}

/** What writing a key needs. */
export function putBytes({ key, value }: { readonly key: Uint8Array; readonly value: Uint8Array }): number {
  return key.length + value.length + KEY_OVERHEAD_BYTES;
}

/** What a store lease needs. */
export const LEASE_BYTES = 128;
