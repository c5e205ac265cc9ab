// Whose probe it is that came in: paths by the address it came from. Pure.

import type { Address } from "../ip/address.ts";
import { prefixAddress } from "../ip/address.ts";
import { networkTagOf } from "./probe-payload.ts";
import type { ProbedPath } from "./probed-path.ts";
import type { ProbedPeer } from "./probed-peer.ts";

export class RequestMap {
  /** By addresses inside of the network. */
  #inside = new Map<Address, ProbedPath>();
  /** By public address and our own subnet: two hosts may be peers in several networks. */
  #outside = new Map<string, ProbedPath>();

  replace(peers: readonly ProbedPeer[]): void {
    this.#inside = new Map();
    this.#outside = new Map();
    for (const probed of peers.flatMap(({ paths }) => paths)) {
      const { subnet, bridge, underlay, ownSubnet } = probed.path;
      this.#inside.set(prefixAddress(subnet), probed);
      this.#inside.set(bridge, probed);
      if (underlay !== undefined) this.#outside.set(outsideKey(underlay, networkTagOf(ownSubnet)), probed);
    }
  }

  /** `isInside`: it came through the tunnel. */
  find(source: Address, networkTag: number): { readonly path: ProbedPath; readonly isInside: boolean } | undefined {
    const inside = this.#inside.get(source);
    if (inside !== undefined) return { path: inside, isInside: true };
    const outside = this.#outside.get(outsideKey(source, networkTag));
    return outside === undefined ? undefined : { path: outside, isInside: false };
  }
}

function outsideKey(address: Address, networkTag: number): string {
  return `${address} ${networkTag}`;
}
