// The host-gw backend: plain routes with the peers as gateways; all hosts must share one link. Pure.
import type { NetworkConfig } from "../../config/network-config.ts";
import { FlannelError } from "../../errors.ts";
import { emptyHostState, type HostRoute } from "../../host/host-state.ts";
import type { Address, Family } from "../../ip/address.ts";
import type { Lease, LeaseAttributes, LeasedSubnets } from "../../lease/lease.ts";
import { announcedAddresses } from "../announced-addresses.ts";
import type { Backend, BackendModule, BackendPlan, HostFacts } from "../backend.ts";
import { isOwnAddress, type PeerReach, readReach, type SkippedLease, selectPeers } from "../peer-reach.ts";
import { reservedPrefixes, settleClaims } from "../settle-claims.ts";

export const hostGwModule: BackendModule = {
  type: "host-gw",
  summary: "Plain routes with the hosts as gateways; fastest, but all hosts must be on one link.",
  keys: [],
  create: (config) => new HostGwBackend(config),
};

class HostGwBackend implements Backend {
  readonly type = "host-gw";
  readonly devices: readonly string[] = [];
  readonly ownsTaggedRoutes = true;
  readonly needsDirectPeers = false;
  readonly #config: NetworkConfig;
  /** What each lease says, by family; leases are immutable. */
  readonly #readings: Readonly<Record<Family, WeakMap<Lease, { readonly reading: PeerReach | string | undefined }>>> = {
    4: new WeakMap(),
    6: new WeakMap(),
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

  plan(own: LeasedSubnets, peers: readonly Lease[], facts: HostFacts): BackendPlan {
    const skipped: SkippedLease[] = [];
    const routes: HostRoute[] = [];
    const planned = new Set<Lease>();
    const ours = selectPeers(this.type, this.#config, peers, skipped);
    for (const family of [4, 6] as const) {
      for (const { lease, subnet, publicIp } of this.#reaches(family, own, ours, facts, skipped)) {
        planned.add(lease);
        routes.push({
          destination: subnet,
          device: facts.externalInterface.name,
          gateway: publicIp,
          onLink: false,
        });
      }
    }
    return { state: { ...emptyHostState, routes }, plannedPeers: planned.size, skipped };
  }

  #reaches(
    family: Family,
    own: LeasedSubnets,
    peers: readonly Lease[],
    facts: HostFacts,
    skipped: SkippedLease[],
  ): readonly PeerReach[] {
    const pool = family === 4 ? this.#config.ipv4 : this.#config.ipv6;
    const ownSubnet = family === 4 ? own.subnet : own.ipv6Subnet;
    if (pool === undefined || ownSubnet === undefined) return [];
    const external = facts.externalInterface;
    const reaches: PeerReach[] = [];
    for (const lease of peers) {
      const reading = this.#readings[family].get(lease)?.reading ?? readReach(lease, family, pool);
      this.#readings[family].set(lease, { reading });
      if (reading === undefined) continue;
      if (typeof reading === "string") skipped.push({ key: lease.key, reason: reading });
      else if (isOwnAddress(reading.publicIp, external)) {
        skipped.push({ key: lease.key, reason: `announces our own address ${reading.publicIp}` });
      } else reaches.push(reading);
    }
    const settled = settleClaims(reaches, reservedPrefixes(ownSubnet, external), pool.subnetLength);
    skipped.push(...settled.skipped);
    return settled.accepted;
  }
}

/** Peers use the announced address as their gateway, so it has to be on the link itself. */
function refuseNat(publicIp: Address, address: Address | undefined, flag: string): void {
  if (publicIp === address) return;
  const shown = address ?? "none";
  throw new FlannelError(
    "config.invalid",
    `host-gw cannot work behind NAT: the public IP ${publicIp} is not the interface's address (${shown}), and other ` +
      `hosts could not use it as a gateway; leave out ${flag}, or use the vxlan backend`,
    { details: { key: flag, value: publicIp, rule: "must be the external interface's address with host-gw" } },
  );
}
