// What is asked about the peers before each plan: how the kernel reaches their hosts, and what their leases say.
import { setImmediate } from "node:timers/promises";
import type { Backend, HostFacts } from "../../backend/backend.ts";
import type { Address, Prefix } from "../../ip/address.ts";
import type { Lease } from "../../lease/lease.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { DirectPeers } from "../../underlay/direct-peers.ts";

const LEASES_PER_SLICE = 1_000;

export interface PeerLookUpOptions {
  readonly networks: readonly Prefix[];
  /** Stays the caller's. */
  readonly rtnetlink: Rtnetlink;
  readonly logger: Logger;
  /** Peers are reached another way now. */
  readonly onChange: (directPeers: ReadonlySet<Address>) => void;
}

export class PeerLookUps implements AsyncDisposable {
  readonly #options: PeerLookUpOptions;
  #directPeers: DirectPeers | undefined;

  constructor(options: PeerLookUpOptions) {
    this.#options = options;
  }

  /**
   * Lets the backend read the leases in slices: all of a large network at once would hold up everything else. Resolves to the
   * public IPs that are reached without a gateway, where the backend needs them.
   */
  async of(peers: readonly Lease[], backend: Backend, facts: HostFacts): Promise<ReadonlySet<Address>> {
    for (let start = 0; start < peers.length; start += LEASES_PER_SLICE) {
      if (start > 0) await setImmediate();
      backend.prepare(peers.slice(start, start + LEASES_PER_SLICE));
    }
    const asked = peers.filter((lease) => backend.needsLookUp(lease));
    if (asked.length === 0 && this.#directPeers === undefined) return facts.directPeers;
    const { networks, rtnetlink, logger, onChange } = this.#options;
    this.#directPeers ??= new DirectPeers({ overlayNetworks: networks, rtnetlink, logger, onChange });
    const addresses = asked.flatMap(({ attributes: { publicIp, publicIpv6 } }) => [publicIp, publicIpv6]);
    const known = addresses.filter((address) => address !== undefined);
    return await this.#directPeers.setPeers(known, facts.externalInterface.index);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#directPeers?.[Symbol.asyncDispose]();
  }
}
