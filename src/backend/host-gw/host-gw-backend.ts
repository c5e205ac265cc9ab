// The host-gw backend: plain routes with the peers as gateways; all hosts must share one link. Hosts on it that have the
// vxlan or ipip backend are served as well: they take plain packets and send them to us, so that a cluster can change from
// one to the other host by host. Pure.
import type { AddressPool, NetworkConfig } from "../../config/network-config.ts";
import { FlannelError } from "../../errors.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import type { Address, Family } from "../../ip/address.ts";
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
import { SettledPeers } from "../settled-peers.ts";

export const hostGwModule: BackendModule = {
  type: "host-gw",
  summary: "Plain routes with the hosts as next hops; fastest, but all hosts must be on one link.",
  keys: [],
  devicePatterns: [],
  create: (config) => new HostGwBackend(config),
};

type Reading = PeerReach | string | undefined;

class HostGwBackend implements Backend {
  readonly type = "host-gw";
  readonly devices: readonly string[] = [];
  readonly runsDataPlane = false;
  readonly needs = { carriesTraffic: true };
  readonly #config: NetworkConfig;
  /** What each lease says, by family; leases are immutable. */
  readonly #readings: Readonly<Record<Family, WeakMap<Lease, { readonly reading: Reading }>>> = {
    4: new WeakMap(),
    6: new WeakMap(),
  };

  readonly #routes = new GatewayRoutes();
  readonly #settled: Readonly<Record<Family, SettledPeers<PeerReach>>> = {
    4: new SettledPeers(),
    6: new SettledPeers(),
  };

  constructor(config: NetworkConfig) {
    this.#config = config;
  }

  mtuBytes(facts: HostFacts): number {
    return facts.externalInterface.mtuBytes;
  }

  attributes(facts: HostFacts): LeaseAttributes {
    const external = facts.externalInterface;
    const announced = announcedAddresses(this.#config, external);
    if (announced.publicIp !== undefined) refuseNat(announced.publicIp, external.address, "--public-ip");
    if (announced.publicIpv6 !== undefined) refuseNat(announced.publicIpv6, external.ipv6Address, "--public-ipv6");
    return { ...announced, backendType: this.type };
  }

  needsLookUp(lease: Lease): boolean {
    return hasOtherPlainType(lease, this.type);
  }

  prepare(leases: readonly Lease[]): void {
    for (const lease of leases) {
      if (this.#config.ipv4 !== undefined) this.#read(4, this.#config.ipv4, lease);
      if (this.#config.ipv6 !== undefined) this.#read(6, this.#config.ipv6, lease);
    }
  }

  plan(own: LeasedSubnets, peers: readonly Lease[], facts: HostFacts): BackendPlan {
    const skipped: SkippedLease[] = [];
    const routes: HostRoute[] = [];
    const ours = selectPeers(this.type, PLAIN_TYPES, this.#config, peers, skipped);
    const reached = ([4, 6] as const).map((family) => this.#reaches(family, own, { all: peers, ours }, facts, skipped));
    for (const reaches of reached) {
      for (const reach of reaches) routes.push(this.#routes.of(reach, facts.externalInterface.name, false));
    }
    return { state: { route: routes }, plannedPeers: countLeases(ours, reached), skipped };
  }

  #reaches(
    family: Family,
    own: LeasedSubnets,
    { all, ours }: { readonly all: readonly Lease[]; readonly ours: readonly Lease[] },
    facts: HostFacts,
    skipped: SkippedLease[],
  ): readonly PeerReach[] {
    const pool = family === 4 ? this.#config.ipv4 : this.#config.ipv6;
    const ownSubnet = family === 4 ? own.subnet : own.ipv6Subnet;
    if (pool === undefined || ownSubnet === undefined) return [];
    const { externalInterface: external, occupied, directPeers } = facts;
    const inputs = {
      ours,
      context: { network: pool.network, ownSubnet, external, occupied, leases: all },
      others: [directPeers],
    };
    const read = (lease: Lease) => this.#judge(lease, this.#read(family, pool, lease), facts);
    return this.#settled[family].settle(inputs, read, skipped);
  }

  #judge(
    lease: Lease,
    reading: Reading,
    { externalInterface, directPeers }: HostFacts,
  ): PeerReach | SkippedLease | undefined {
    if (reading === undefined) return undefined;
    const { key } = lease;
    if (typeof reading === "string") return { key, reason: reading };
    const { publicIp } = reading;
    if (isOwnAddress(publicIp, externalInterface))
      return { key, reason: `announces this host's own address ${publicIp}` };
    if (!this.needsLookUp(lease) || directPeers.has(publicIp)) return reading;
    return { key, reason: otherBackendOffLink(lease, this.type) };
  }

  #read(family: Family, pool: AddressPool, lease: Lease): Reading {
    const cached = this.#readings[family].get(lease);
    if (cached !== undefined) return cached.reading;
    const reading = readReach(lease, family, pool);
    this.#readings[family].set(lease, { reading });
    return reading;
  }
}

/** Peers use the announced address as their gateway, so it has to be on the link itself. */
function refuseNat(publicIp: Address, address: Address | undefined, flag: string): void {
  if (publicIp === address) return;
  const shown = address ?? "none";
  throw new FlannelError(
    "CONFIG_INVALID",
    `host-gw cannot work behind NAT: the public IP ${publicIp} is not the interface's address (${shown}), and other ` +
      `hosts could not use it as a next hop; omit ${flag}, or use the vxlan backend`,
    { details: { key: flag, value: publicIp, rule: "must be the external interface's address with host-gw" } },
  );
}
