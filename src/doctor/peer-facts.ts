// What is known of the ways to the hosts of peers. Types.
import type { Address, Family, Prefix } from "../ip/address.ts";

export interface UnderlayWay {
  /** Key of the lease. */
  readonly peer: string;
  readonly address: Address;
  readonly device: string;
  readonly deviceKind?: string;
  readonly deviceMtuBytes: number;
  /** Of the route or of what the kernel learnt. */
  readonly routeMtuBytes?: number;
  readonly gateway?: Address;
}

/** Of one echo: lost though it was sent; refused by the kernel itself; never sent. */
export type EchoResult = "answered" | "lost" | "refused" | "unknown";

export interface EchoFacts {
  /** Key of the lease. */
  readonly peer: string;
  readonly family: Family;
  readonly subnet: Prefix;
  readonly address: Address;
  /** Packets reach it by a route without a tunnel. */
  readonly isDirect: boolean;
  /** To the host outside of the tunnel. */
  readonly underlay: EchoResult;
  readonly underlaySent: number;
  readonly underlayAnswered: number;
  /** To the tunnel's own address of the peer. */
  readonly tunnel: EchoResult;
  /** From our bridge to the peer's, and from our own address to the peer's bridge. */
  readonly bridge: EchoResult;
  readonly hostToBridge: EchoResult;
  /** Largest packet that the underlay has to carry for the tunnel's largest. */
  readonly outerBytes: number;
  /** The tunnel's largest: both are whole IP packets. */
  readonly innerBytes: number;
  /** With the flag not to fragment. */
  readonly largeUnderlay: EchoResult;
  /** As reported by the router that could not forward it. */
  readonly pathMtuBytes?: number;
  readonly largeTunnel: EchoResult;
  /** MAC addresses that answered for it on the link, where no echo was; missing: not asked, or it is behind a gateway. */
  readonly linkAnswers?: readonly string[];
}
