// The port every backend implements. A backend plans; it never touches the machine.
import type { BackendKey } from "../config/backend-key.ts";
import type { NetworkConfig } from "../config/network-config.ts";
import type { HostState } from "../host/kinds/host-state.ts";
import type { Address } from "../ip/address.ts";
import type { Lease, LeaseAttributes, LeasedSubnets } from "../lease/lease.ts";
import type { TunnelState } from "../tunnel/tunnel-state.ts";
import type { ExternalInterface } from "../underlay/external-interface.ts";

/** Facts about the host that planning needs. A new object for each change. */
export interface HostFacts {
  readonly externalInterface: ExternalInterface;
  /** Stable MACs of our own VTEPs, chosen before the lease: from the living device, the state directory, else random. */
  readonly vtepMac: string;
  readonly vtepMacV6: string;
  /**
   * Peers' public IPs that the kernel reaches without a gateway, from route look-ups.
   * Only filled when the backend says `needsDirectPeers`.
   */
  readonly directPeers: ReadonlySet<Address>;
}

export interface Backend {
  /** Lower case, as registered. */
  readonly type: string;
  /** Names of the devices this configuration owns; what is on them and not planned is removed. */
  readonly devices: readonly string[];
  readonly needsDirectPeers: boolean;
  /** Whether packets stop while the agent is away, so that a restart must not wait for the store. */
  readonly runsDataPlane: boolean;
  /** Overlay MTU in bytes, for subnet.env: what every family of a container's packets fits into. */
  mtuBytes(facts: HostFacts): number;
  /** What we announce. Throws `config.invalid` when this host cannot serve the backend (e.g. host-gw behind NAT). */
  attributes(facts: HostFacts): LeaseAttributes;
  /**
   * Reads leases ahead of `plan`, which remembers what it read: called in slices, it keeps the first plan of 10,000
   * peers from holding the event loop. Calling it is never necessary.
   */
  prepare(leases: readonly Lease[]): void;
  /**
   * Pure. `peers` without our own lease. Leases that are not for this backend or cannot be read are left out and
   * reported in `skipped`.
   */
  plan(own: LeasedSubnets, peers: readonly Lease[], facts: HostFacts): BackendPlan;
}

export interface BackendPlan {
  readonly state: HostState;
  /** What the user-space data plane is to do, for backends whose packets pass through one. */
  readonly tunnel?: TunnelState;
  /** Number of peers that `state` reaches. */
  readonly plannedPeers: number;
  readonly skipped: readonly { readonly key: string; readonly reason: string }[];
}

export interface BackendModule {
  readonly type: string;
  /** One sentence for `--help` and the docs. */
  readonly summary: string;
  /** Config keys of the Backend object, for validation, near-miss warnings and the generated docs. */
  readonly keys: readonly BackendKey[];
  /** Throws `config.invalid` naming key, value and rule. */
  create(config: NetworkConfig): Backend;
}
