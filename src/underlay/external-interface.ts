// The interface that carries traffic to the other hosts, as chosen by interface-choice.ts.
import type { Address, Family } from "../ip/address.ts";

/** What the host told us about the interface that carries traffic to the other hosts. */
export interface ExternalInterface {
  readonly name: string;
  /** Of this network namespace. */
  readonly index: number;
  /** Of its IP packets, as the device has it. */
  readonly mtuBytes: number;
  /** Up (IFF_UP), and it has an address of the main family. */
  readonly isUp: boolean;
  /** Hardware address, lower case, colons; with it the state directory recognises the host after a change of address. */
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
