// The ipsec backend: an ESP tunnel to each peer, whose policies the kernel has and whose keys strongSwan's charon negotiates.
// IPv4 only, as upstream. Pure.
import type { AddressPool, NetworkConfig } from "../../config/network-config.ts";
import type { HostState } from "../../host/kinds/host-state.ts";
import type { HostXfrmPolicy } from "../../host/kinds/xfrm-policy-form.ts";
import { IPSEC_REQUEST_ID, type IpsecState } from "../../ipsec/connection.ts";
import type { Lease, LeaseAttributes, LeasedSubnets } from "../../lease/lease.ts";
import { announcedAddresses } from "../announced-addresses.ts";
import type { Backend, BackendModule, BackendPlan, HostFacts, HostNeeds } from "../backend.ts";
import { networkDestinations } from "../network-destinations.ts";
import { isOwnAddress, type PeerReach, readReach, type SkippedLease, selectPeers } from "../peer-reach.ts";
import { settleClaims } from "../settle-claims.ts";
import { type IpsecOptions, ipsecKeys, readIpsecOptions } from "./ipsec-options.ts";
import { cleanUpIpsec, describeIpsecFeatures, startIpsec } from "./ipsec-runtime.ts";

export const ipsecModule: BackendModule<unknown, IpsecState> = {
  type: "ipsec",
  summary: "IPsec (ESP) encryption in the kernel, with keys that strongSwan's charon negotiates. IPv4 only.",
  keys: ipsecKeys,
  devicePatterns: [],
  needsEsp: true,
  create: (config) => new IpsecBackend(config),
  start: startIpsec,
  outlivesAgent: true,
  cleanUp: cleanUpIpsec,
  describeFeatures: describeIpsecFeatures,
};

/** Upstream's: outer IP header, ESP header, initialisation vector, padding, check value; a UDP header on top of it. */
const OVERHEAD_BYTES = 77;
const UDP_BYTES = 8;

/** The device of charon's own ESP (kernel-libipsec), and the MTU that it gives it. */
const USERSPACE_DEVICE = "ipsec0";
const USERSPACE_MTU_BYTES = 1_400;

class IpsecBackend implements Backend<unknown, IpsecState> {
  readonly type = "ipsec";
  readonly devices: readonly string[] = [];
  needsLookUp = (): boolean => false;
  readonly runsDataPlane = false;
  readonly needs: HostNeeds = { carriesTraffic: true, ipsecDaemon: true };
  readonly #config: NetworkConfig;
  readonly #options: IpsecOptions;

  constructor(config: NetworkConfig) {
    this.#config = config;
    this.#options = readIpsecOptions(config);
  }

  mtuBytes(facts: HostFacts): number {
    const isUserspace = usesUserspace(facts);
    const encapsulation = this.#options.usesUdpEncapsulation || isUserspace ? UDP_BYTES : 0;
    const mtuBytes = facts.externalInterface.mtuBytes - OVERHEAD_BYTES - encapsulation;
    return isUserspace ? Math.min(mtuBytes, USERSPACE_MTU_BYTES) : mtuBytes;
  }

  attributes({ externalInterface }: HostFacts): LeaseAttributes {
    return { ...announcedAddresses(this.#ipv4Config(), externalInterface), backendType: this.type };
  }

  prepare(): void {
    // A lease is read in microseconds.
  }

  plan(own: LeasedSubnets, peers: readonly Lease[], facts: HostFacts): BackendPlan<IpsecState> {
    const skipped: SkippedLease[] = [];
    const { subnet } = own;
    const { ipv4 } = this.#config;
    const { address, publicIp } = facts.externalInterface;
    if (subnet === undefined || ipv4 === undefined || address === undefined) {
      return { state: {}, plannedPeers: 0, skipped };
    }
    const reaches = this.#reaches(ipv4, subnet, peers, facts, skipped);
    const isUserspace = usesUserspace(facts);
    const runtime: IpsecState = {
      network: ipv4.network,
      localAddress: address,
      publicIp: publicIp ?? address,
      subnet,
      ...this.#options,
      isUserspace,
      peers: reaches.map((reach) => ({ key: reach.lease.key, publicIp: reach.publicIp, subnet: reach.subnet })),
    };
    const state: HostState = isUserspace
      ? userspaceState(ipv4, reaches, peers, facts)
      : { xfrmPolicy: runtime.peers.flatMap((peer) => policies(runtime, peer)) };
    return { state, runtime, plannedPeers: reaches.length, skipped };
  }

  #ipv4Config(): NetworkConfig {
    const { ipv6: _ipv6, ...config } = this.#config;
    return config;
  }

  #reaches(
    pool: AddressPool,
    ownSubnet: NonNullable<LeasedSubnets["subnet"]>,
    peers: readonly Lease[],
    facts: HostFacts,
    skipped: SkippedLease[],
  ): readonly PeerReach[] {
    const { externalInterface: external, occupied } = facts;
    const found: PeerReach[] = [];
    for (const lease of selectPeers(this.type, [this.type], this.#ipv4Config(), peers, skipped)) {
      const reading = readReach(lease, 4, pool);
      if (reading === undefined) continue;
      if (typeof reading === "string") skipped.push({ key: lease.key, reason: reading });
      else if (isOwnAddress(reading.publicIp, external)) {
        skipped.push({ key: lease.key, reason: `announces this host's own address ${reading.publicIp}` });
      } else found.push(reading);
    }
    const settled = settleClaims(found, { network: pool.network, ownSubnet, external, occupied, leases: peers });
    skipped.push(...settled.skipped);
    return settled.accepted;
  }
}

function usesUserspace({ hasKernelEsp }: HostFacts): boolean {
  return hasKernelEsp === false;
}

/** Upstream's three: packets to the peer, from it to this host, from it to a container. */
function policies({ localAddress, subnet }: IpsecState, peer: IpsecState["peers"][number]): readonly HostXfrmPolicy[] {
  const out = {
    source: subnet,
    destination: peer.subnet,
    tunnelSource: localAddress,
    tunnelDestination: peer.publicIp,
  };
  const back = {
    source: peer.subnet,
    destination: subnet,
    tunnelSource: peer.publicIp,
    tunnelDestination: localAddress,
  };
  const requestId = IPSEC_REQUEST_ID;
  return [
    { direction: "out", ...out, requestId },
    { direction: "in", ...back, requestId },
    { direction: "fwd", ...back, requestId },
  ];
}

/** charon's device carries the network; behind it a route that drops, so that nothing leaves in the clear while charon is away. */
function userspaceState(
  { network }: AddressPool,
  reaches: readonly PeerReach[],
  leases: readonly Lease[],
  { occupied }: HostFacts,
): HostState {
  const destinations = networkDestinations(network, reaches, leases, occupied);
  return {
    route: destinations.map((destination) => ({
      destination,
      device: USERSPACE_DEVICE,
      onLink: false,
      isLinkScope: true,
    })),
    blackhole: destinations.map((destination) => ({ destination })),
  };
}
