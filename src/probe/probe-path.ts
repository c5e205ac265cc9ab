// What is probed: one family of one peer, with the addresses that may answer. Types, and which address stands for the peer.
import type { Address, Family, Prefix } from "../ip/address.ts";

/**
 * underlay  the peer's public address, outside the tunnel
 * tunnel    the first address of its subnet, which its tunnel device has: through the tunnel
 * bridge    the second address of its subnet, which the containers' bridge has, from our own bridge's
 */
export type ProbeKind = "underlay" | "tunnel" | "bridge";

export interface ProbePath {
  /** Key of the peer's lease. */
  readonly peer: string;
  readonly subnet: Prefix;
  readonly family: Family;
  /** Missing: nobody announced it. */
  readonly underlay?: Address;
  /** Missing where the peer's backend has no device with an address of its own. */
  readonly tunnel?: Address;
  readonly bridge: Address;
  /** Our own subnet of this network and family. */
  readonly ownSubnet: Prefix;
  /** Our own bridge's address, where the bridge exists if anything does. */
  readonly ownBridge: Address;
  /** Full size outside and inside of the tunnel, in bytes of IP packets; of the family of `underlay` and of `subnet`. */
  readonly underlayMtuBytes: number;
  readonly overlayMtuBytes: number;
}

/** The kind of probe that tells whether containers of the peer can be reached as far as hosts can tell. */
export function mainKind({ tunnel }: ProbePath): "tunnel" | "bridge" {
  return tunnel === undefined ? "bridge" : "tunnel";
}
