// The ipip backend: one device for all peers, and per peer a route with its host as on-link next hop: the kernel puts each
// packet into an IPv4 packet to that host. IPv6, which upstream's does not have, travels in IPv6 packets between hosts of ours,
// through an ip6tnl device: there each route says the outer addresses, since the kernel takes no next hop on another link than
// its own. Or plain routes to peers on our link: with DirectRouting, and to hosts with the vxlan or host-gw backend, so that a
// network can change from one to the other host by host. Pure.
import type { AddressPool, NetworkConfig } from "../../config/network-config.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import { type Address, addressBits, type Family, makePrefix, type Prefix, prefixAddress } from "../../ip/address.ts";
import type { Lease, LeaseAttributes, LeasedSubnets } from "../../lease/lease.ts";
import { announcedAddresses } from "../announced-addresses.ts";
import type { Backend, BackendModule, BackendPlan, HostFacts, HostNeeds } from "../backend.ts";
import { EncapsulatedRoutes } from "../encapsulated-routes.ts";
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
import { noRouterAdvertisements } from "../router-advertisements.ts";
import { countLeases } from "../settle-claims.ts";
import { SettledPeers } from "../settled-peers.ts";
import { announcesIp6tnl, ip6tnlData } from "./ip6tnl-data.ts";
import { ipipKeys, readIpipOptions } from "./ipip-options.ts";

const DEVICES: Readonly<Record<Family, string>> = { 4: "flannel.ipip", 6: "flannel.ip6tnl" };
/** The outer header. */
const OVERHEAD_BYTES: Readonly<Record<Family, number>> = { 4: 20, 6: 40 };

export const ipipModule: BackendModule = {
  type: "ipip",
  summary:
    "IP in IP encapsulation in the kernel: the least overhead (20 bytes), if the network between the hosts lets IP protocol 4 pass.",
  keys: ipipKeys,
  hasTunnelAddress: true,
  devicePatterns: [
    { kind: "ipip", pattern: /^flannel\.ipip$/, distinguishedBy: "Type" },
    { kind: "ip6tnl", pattern: /^flannel\.ip6tnl$/, distinguishedBy: "Type" },
  ],
  create: (config) => new IpipBackend(config),
};

type Reading = PeerReach | string | undefined;

interface IpipFamily {
  readonly family: Family;
  readonly pool: AddressPool;
  /** What each lease says; leases are immutable. */
  readonly readings: WeakMap<Lease, { readonly reading: Reading }>;
  readonly plainRoutes: GatewayRoutes;
  readonly tunnelRoutes: EncapsulatedRoutes;
  readonly settled: SettledPeers<PeerReach>;
}

/** This host's end of the tunnel of a family. */
interface OwnEnd {
  readonly subnet: Prefix;
  readonly local: Address;
}

/** Leases: all, and those of hosts that may be reached. */
interface PeerLeases {
  readonly all: readonly Lease[];
  readonly ours: readonly Lease[];
}

class IpipBackend implements Backend {
  readonly type = "ipip";
  readonly devices: readonly string[];
  readonly runsDataPlane = false;
  readonly needs: HostNeeds;
  readonly handoverObstacle?: string;
  readonly #config: NetworkConfig;
  readonly #directRouting: boolean;
  readonly #families: readonly IpipFamily[];

  constructor(config: NetworkConfig) {
    this.#config = config;
    this.#directRouting = readIpipOptions(config).directRouting;
    this.#families = [
      ...(config.ipv4 === undefined ? [] : [newFamily(4, config.ipv4)]),
      ...(config.ipv6 === undefined ? [] : [newFamily(6, config.ipv6)]),
    ];
    this.devices = this.#families.map(({ family }) => DEVICES[family]);
    const kinds = { 4: "ipip", 6: "ip6tnl" } as const;
    const [kind, furtherKind] = this.#families.map(({ family }) => kinds[family]);
    this.needs = {
      carriesTraffic: true,
      ...(kind !== undefined && { kernelDevice: { kind, ...(furtherKind !== undefined && { furtherKind }) } }),
    };
    if (config.ipv6 !== undefined) {
      this.handoverObstacle =
        "upstream's ipip carries IPv4 only, and its flanneld ends with a crash at a lease with IPv6; set EnableIPv6 to false first";
    }
  }

  mtuBytes({ externalInterface }: HostFacts, family: Family = this.#config.ipv4 === undefined ? 6 : 4): number {
    return externalInterface.mtuBytes - OVERHEAD_BYTES[family];
  }

  attributes({ externalInterface }: HostFacts): LeaseAttributes {
    return {
      ...announcedAddresses(this.#config, externalInterface),
      backendType: this.type,
      ...(this.#config.ipv6 !== undefined && { backendV6Data: ip6tnlData }),
    };
  }

  needsLookUp(lease: Lease): boolean {
    return this.#families.some(({ family }) => this.#mayBeDirect(family, lease));
  }

  prepare(leases: readonly Lease[]): void {
    for (const family of this.#families) for (const lease of leases) readCached(family, lease);
  }

  /** A family is planned when we hold a subnet of it and the external interface has an address of it. */
  plan(own: LeasedSubnets, peers: readonly Lease[], facts: HostFacts): BackendPlan {
    const skipped: SkippedLease[] = [];
    const leases = { all: peers, ours: selectPeers(this.type, PLAIN_TYPES, this.#config, peers, skipped) };
    const present = this.#families.flatMap((each) => {
      const end = ownEnd(each.family, own, facts);
      return end === undefined ? [] : [{ ...each, end, device: DEVICES[each.family] }];
    });
    const reached = present.map((each) => this.#reaches(each, each.end.subnet, leases, facts, skipped));
    const has6 = present.some(({ family }) => family === 6);
    return {
      state: {
        link: present.map(({ family, device: name, end: { local } }) => {
          const mtuBytes = this.mtuBytes(facts, family);
          return family === 4 ? { kind: "ipip", name, mtuBytes, local } : { kind: "ip6tnl", name, mtuBytes };
        }),
        address: present.map(({ family, device, end: { subnet } }) => {
          return { device, address: makePrefix(prefixAddress(subnet), addressBits(family)) };
        }),
        route: present.flatMap((each, index) =>
          (reached[index] ?? []).map((reach) => this.#route(each, each.end.local, reach, facts)),
        ),
        deviceSettings: present.flatMap(({ family, device }) => (family === 4 ? [{ device }] : [])),
        ...(has6 && { sysctl: sysctlsOf(DEVICES[6]) }),
      },
      plannedPeers: countLeases(leases.ours, reached),
      skipped,
    };
  }

  /** The tunnel ends at the interface's own address: the kernel drops packets from a public IP this host does not have. */
  #route(
    { family, plainRoutes, tunnelRoutes }: IpipFamily,
    local: Address,
    reach: PeerReach,
    facts: HostFacts,
  ): HostRoute {
    const { name } = facts.externalInterface;
    const isDirect = this.#isDirect(family, reach, facts);
    // On-link also over the interface, as upstream writes it.
    if (family === 4) return plainRoutes.of(reach, isDirect ? name : DEVICES[4], true);
    if (isDirect) return plainRoutes.of(reach, name, false);
    const mtuBytes = this.mtuBytes(facts, 6);
    // Containers may have IPv4's: then the host itself has to say that a packet is too big.
    const ownMtuBytes = mtuBytes < this.mtuBytes(facts) ? mtuBytes : undefined;
    return tunnelRoutes.of(reach, { device: DEVICES[6], local, mtuBytes: ownMtuBytes });
  }

  #isDirect(family: Family, { lease, publicIp }: PeerReach, { directPeers }: HostFacts): boolean {
    return this.#mayBeDirect(family, lease) && directPeers.has(publicIp);
  }

  #mayBeDirect(family: Family, lease: Lease): boolean {
    if (hasOtherPlainType(lease, this.type)) return true;
    return lease.attributes.backendType === this.type && (this.#directRouting || !this.#hasTunnel(family, lease));
  }

  /** Whether the host takes this family from a tunnel. */
  #hasTunnel(family: Family, { attributes, ipv6Subnet }: Lease): boolean {
    if (attributes.backendType !== this.type) return false;
    return family === 4 || ipv6Subnet === undefined || announcesIp6tnl(attributes);
  }

  #reaches(
    family: IpipFamily,
    ownSubnet: Prefix,
    { all, ours }: PeerLeases,
    facts: HostFacts,
    skipped: SkippedLease[],
  ): readonly PeerReach[] {
    const { externalInterface: external, occupied, directPeers } = facts;
    const context = { network: family.pool.network, ownSubnet, external, occupied, leases: all };
    const read = (lease: Lease) => this.#judge(family.family, lease, readCached(family, lease), facts);
    return family.settled.settle({ ours, context, others: [directPeers] }, read, skipped);
  }

  #judge(family: Family, lease: Lease, reading: Reading, facts: HostFacts): PeerReach | SkippedLease | undefined {
    const { key } = lease;
    if (reading === undefined) return undefined;
    if (typeof reading === "string") return { key, reason: reading };
    if (isOwnAddress(reading.publicIp, facts.externalInterface))
      return { key, reason: `announces this host's own address ${reading.publicIp}` };
    if (this.#hasTunnel(family, lease) || this.#isDirect(family, reading, facts)) return reading;
    if (lease.attributes.backendType !== this.type) return { key, reason: otherBackendOffLink(lease, this.type) };
    const reason = "announces no tunnel for IPv6 (BackendV6Data), and its host is not on a link of this host";
    return { key, reason };
  }
}

function newFamily(family: Family, pool: AddressPool): IpipFamily {
  return {
    ...{ family, pool, readings: new WeakMap(), plainRoutes: new GatewayRoutes() },
    ...{ tunnelRoutes: new EncapsulatedRoutes(), settled: new SettledPeers<PeerReach>() },
  };
}

function ownEnd(family: Family, own: LeasedSubnets, { externalInterface }: HostFacts): OwnEnd | undefined {
  const { address, ipv6Address } = externalInterface;
  const [subnet, local] = family === 4 ? [own.subnet, address] : [own.ipv6Subnet, ipv6Address];
  return subnet === undefined || local === undefined ? undefined : { subnet, local };
}

/** A device inherits `disable_ipv6` from `net.ipv6.conf.default`, and then takes no IPv6 address. */
function sysctlsOf(device: string) {
  return [{ key: `net/ipv6/conf/${device}/disable_ipv6`, value: "0" }, noRouterAdvertisements(device)];
}

function readCached({ family, pool, readings }: IpipFamily, lease: Lease): Reading {
  const cached = readings.get(lease);
  if (cached !== undefined) return cached.reading;
  const reading = readReach(lease, family, pool);
  readings.set(lease, { reading });
  return reading;
}
