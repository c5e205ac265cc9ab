// A member goes in two steps, in two files: first out of the list of members, then its leases out of the store. Between
// them it is leaving. Whatever stops the second step, it is repeated: by the command, at the start, every minute.
import { describeError, FlannelError } from "../../errors.ts";
import { grpcStatus, RpcError } from "../grpc/rpc-error.ts";
import type { EmbeddedStore } from "../server/embedded-store.ts";
import type { RemovedLeases } from "./cluster.ts";
import { LogOnce } from "./log-once.ts";
import type { HostRecord } from "./member-file.ts";
import type { MemberRegistry } from "./member-registry.ts";
import { removeLeases } from "./remove-leases.ts";

export interface MemberRemovalOptions {
  readonly registry: MemberRegistry;
  readonly store: EmbeddedStore;
  /** Ends the connections of the host. */
  readonly cutOff: (host: HostRecord) => void;
  /** Gets failures that belong to no call. */
  readonly onFailure: (error: unknown) => void;
}

const LEAVING_MS = 5_000;

export class MemberRemoval {
  readonly #options: MemberRemovalOptions;
  readonly #failures: LogOnce;

  constructor(options: MemberRemovalOptions) {
    this.#options = options;
    this.#failures = new LogOnce(options.onFailure);
  }

  /**
   * By the administrator; may be repeated until it succeeds. Throws `CLUSTER_NOT_FOUND`, `FILE_FAILED` when nothing was
   * changed, a refusal while the leases cannot be deleted.
   */
  async remove(name: string): Promise<RemovedLeases> {
    const { registry, cutOff } = this.#options;
    const leaving = registry.remove(name);
    leaving.forEach(cutOff);
    const removed = { leases: [] as string[], sharedAddresses: [] as string[], pendingReason: "" };
    for (const host of leaving) {
      const { leases, sharedAddresses } = await this.#removeLeases(host).catch((cause: unknown) => {
        throw stillThere(name, cause);
      });
      removed.leases.push(...leases);
      removed.sharedAddresses.push(...sharedAddresses);
    }
    return removed;
  }

  /** By the host itself, which need not wait for its leases to go. Throws `CLUSTER_NOT_FOUND`, `FILE_FAILED`. */
  async leave(host: HostRecord): Promise<RemovedLeases> {
    const { registry, cutOff } = this.#options;
    registry.remove(host.name);
    // The answer goes out on one of the connections that end, and is lost when that is reset before it was read: who has
    // it closes. No call is let in on any of them meanwhile.
    setTimeout(() => cutOff(host), LEAVING_MS).unref();
    return await this.#removeLeases(host).catch((error: unknown) => ({
      leases: [],
      sharedAddresses: [],
      pendingReason: describeError(error),
    }));
  }

  /** What is left of earlier removals; call it again and again. Never rejects. */
  async finish(): Promise<void> {
    let trouble: unknown;
    for (const host of this.#options.registry.leaving) {
      try {
        await this.#removeLeases(host);
      } catch (cause) {
        trouble ??= new FlannelError("FILE_FAILED", `the leases of removed host ${host.name} cannot be deleted yet`, {
          cause,
        });
      }
    }
    this.#failures.follow(trouble);
  }

  /** In this order: since it is no member no call of it is accepted, so that none writes a lease after they are gone. */
  async #removeLeases(host: HostRecord): Promise<RemovedLeases> {
    const { registry, store, onFailure } = this.#options;
    const removed = await removeLeases(store, registry.facts, host, registry.hosts);
    try {
      registry.forget(host);
    } catch (error) {
      // They are gone all the same; it is forgotten next time.
      onFailure(error);
    }
    return removed;
  }
}

function stillThere(name: string, cause: unknown): RpcError {
  const status = cause instanceof RpcError ? cause.status : grpcStatus.unavailable;
  const message =
    `host ${name} is no member any more and is cut off, but its leases are still in the store: ${describeError(cause)}. ` +
    "The store deletes them as soon as it can write; until then flannelctl host list shows the host as leaving";
  return new RpcError(status, message, { cause });
}
