// The ipip backend: one device for all peers, and per peer a route with its host as on-link next hop: the kernel puts each
// packet into an IPv4 packet to that host. Or a plain route where the peer is on our link: with DirectRouting, and to hosts
// with the vxlan or host-gw backend, so that a network can change from one to the other host by host. IPv4. Pure.
import type { AddressPool, NetworkConfig } from "../../config/network-config.ts";
import { addressBits, makePrefix, prefixAddress } from "../../ip/address.ts";
import type { Lease, LeaseAttributes, LeasedSubnets } from "../../lease/lease.ts";
import { announcedAddresses } from "../announced-addresses.ts";
import type { Backend, BackendModule, BackendPlan, HostFacts } from "../backend.ts";
import { GatewayRoutes } from "../gateway-routes.ts";
import {
  hasOtherPlainType,
  isOwnAddress,
  otherBackendOffLink,
  type PeerReach,
  PLAIN_TYPES,
  readReach,
  type SkippedLease,
  selectPeers,
} from "../peer-reach.ts";
import { countLeases } from "../settle-claims.ts";
import { SettledPeers, type SettlingInputs } from "../settled-peers.ts";
import { ipipKeys, readIpipOptions } from "./ipip-options.ts";

const DEVICE = "flannel.ipip";
/** Outer IPv4 header. */
const OVERHEAD_BYTES = 20;

export const ipipModule: BackendModule = {
  type: "ipip",
  summary:
    "IP in IP encapsulation in the kernel: the least overhead (20 bytes), if the network between the hosts lets IP protocol 4 pass.",
  keys: ipipKeys,
  devicePatterns: [{ kind: "ipip", pattern: /^flannel\.ipip$/, distinguishedBy: "Type" }],
  create: (config) => new IpipBackend(config),
};

type Reading = PeerReach | string | undefined;

class IpipBackend implements Backend {
  readonly type = "ipip";
  readonly devices: readonly string[] = [DEVICE];
  readonly runsDataPlane = false;
  readonly needs = { carriesTraffic: true, kernelDevice: { kind: "ipip" } } as const;
  readonly #config: NetworkConfig;
  readonly #directRouting: boolean;
  /** What each lease says; leases are immutable. */
  readonly #readings = new WeakMap<Lease, { readonly reading: Reading }>();
  readonly #routes = new GatewayRoutes();
  readonly #settled = new SettledPeers<PeerReach>();

  constructor(config: NetworkConfig) {
    this.#config = config;
    this.#directRouting = readIpipOptions(config).directRouting;
  }

  mtuBytes({ externalInterface }: HostFacts): number {
    return externalInterface.mtuBytes - OVERHEAD_BYTES;
  }

  attributes({ externalInterface }: HostFacts): LeaseAttributes {
    return { ...announcedAddresses(this.#config, externalInterface), backendType: this.type };
  }

  needsLookUp(lease: Lease): boolean {
    const isOurs = lease.attributes.backendType === this.type;
    return hasOtherPlainType(lease, this.type) || (this.#directRouting && isOurs);
  }

  prepare(leases: readonly Lease[]): void {
    const { ipv4 } = this.#config;
    if (ipv4 !== undefined) for (const lease of leases) this.#read(ipv4, lease);
  }

  /** The tunnel ends at the interface's own address: the kernel drops packets from a public IP this host does not have. */
  plan({ subnet }: LeasedSubnets, peers: readonly Lease[], facts: HostFacts): BackendPlan {
    const skipped: SkippedLease[] = [];
    const ours = selectPeers(this.type, PLAIN_TYPES, this.#config, peers, skipped);
    const { address: local, name } = facts.externalInterface;
    const { ipv4 } = this.#config;
    if (subnet === undefined || local === undefined || ipv4 === undefined) {
      return { state: {}, plannedPeers: 0, skipped };
    }
    const context = {
      ...{ network: ipv4.network, ownSubnet: subnet, leases: peers },
      ...{ external: facts.externalInterface, occupied: facts.occupied },
    };
    const reaches = this.#reaches({ ours, context, others: [facts.directPeers] }, ipv4, facts, skipped);
    return {
      state: {
        link: [{ kind: "ipip", name: DEVICE, mtuBytes: this.mtuBytes(facts), local }],
        address: [{ device: DEVICE, address: makePrefix(prefixAddress(subnet), addressBits(4)) }],
        route: reaches.map((reach) => this.#routes.of(reach, this.#isDirect(reach, facts) ? name : DEVICE, true)),
        deviceSettings: [{ device: DEVICE }],
      },
      plannedPeers: countLeases(ours, [reaches]),
      skipped,
    };
  }

  #isDirect({ lease, publicIp }: PeerReach, { directPeers }: HostFacts): boolean {
    return this.needsLookUp(lease) && directPeers.has(publicIp);
  }

  #reaches(inputs: SettlingInputs, pool: AddressPool, facts: HostFacts, skipped: SkippedLease[]): readonly PeerReach[] {
    const { context } = inputs;
    const read = (lease: Lease): PeerReach | SkippedLease | undefined => {
      const reading = this.#read(pool, lease);
      if (reading === undefined) return undefined;
      if (typeof reading === "string") return { key: lease.key, reason: reading };
      if (isOwnAddress(reading.publicIp, context.external))
        return { key: lease.key, reason: `announces this host's own address ${reading.publicIp}` };
      const isOurs = lease.attributes.backendType === this.type;
      if (isOurs || this.#isDirect(reading, facts)) return reading;
      return { key: lease.key, reason: otherBackendOffLink(lease, this.type) };
    };
    return this.#settled.settle(inputs, read, skipped);
  }

  #read(pool: AddressPool, lease: Lease): Reading {
    const cached = this.#readings.get(lease);
    if (cached !== undefined) return cached.reading;
    const reading = readReach(lease, 4, pool);
    this.#readings.set(lease, { reading });
    return reading;
  }
}
