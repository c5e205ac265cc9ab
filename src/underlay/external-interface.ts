// The interface that carries traffic to the other hosts, as chosen by interface-choice.ts.
import type { Address, Family } from "../ip/address.ts";

/** What the host told us about the interface that carries traffic to the other hosts. */
export interface ExternalInterface {
  readonly name: string;
  readonly index: number;
  readonly mtuBytes: number;
  readonly isUp: boolean;
  /** Hardware address; with it the state directory recognises the host after a change of address. */
  readonly mac?: string;
  /** The device that has the addresses, where no packets leave through that: a loopback or dummy device. */
  readonly addressDevice?: string;
  /** The kernel's routes chose the interface, not its addresses: it changes with them. */
  readonly followsRoutes?: boolean;
  /** Families whose address has no wider prefix than /32 or /128; missing when there are none. */
  readonly hostPrefixes?: readonly Family[];
  /** Addresses on the interface that were chosen; outer source of what is encapsulated. */
  readonly address?: Address;
  readonly ipv6Address?: Address;
  /** Addresses announced to the others: differ from the above behind NAT. */
  readonly publicIp?: Address;
  readonly publicIpv6?: Address;
}

export type FamilySet = ReadonlySet<Family>;
