// The udp backend: a TUN device that takes the whole network's packets, and the agent's own data plane behind it that
// carries each in one UDP datagram. Pure: it plans device, route and peers. IPv4 as upstream; IPv6 is ours.
import type { AddressPool, NetworkConfig } from "../../config/network-config.ts";
import type { HostAddress } from "../../host/kinds/address.ts";
import type { TunLink } from "../../host/kinds/link-form.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import type { HostSysctl } from "../../host/kinds/sysctl.ts";
import { addressBits, type Family, familyOf, makePrefix, type Prefix, prefixAddress } from "../../ip/address.ts";
import {
  type BackendData,
  type Lease,
  type LeaseAttributes,
  type LeasedSubnets,
  prefixesOf,
} from "../../lease/lease.ts";
import type { TunnelPeer, TunnelState } from "../../tunnel/tunnel-state.ts";
import { announcedAddresses } from "../announced-addresses.ts";
import type { Backend, BackendModule, BackendPlan, HostFacts, HostNeeds } from "../backend.ts";
import { networkDestinations } from "../network-destinations.ts";
import { isOwnAddress, type PeerReach, readReach, type SkippedLease, selectPeers } from "../peer-reach.ts";
import { noRouterAdvertisements } from "../router-advertisements.ts";
import { countLeases, settleClaims } from "../settle-claims.ts";
import { DEFAULT_PORT, readUdpOptions, type UdpOptions, udpKeys } from "./udp-options.ts";
import { describeUdpFeatures, startUdp, warmUpUdp } from "./udp-runtime.ts";

export const udpModule: BackendModule<unknown, TunnelState> = {
  type: "udp",
  summary:
    "UDP encapsulation by the agent itself; needs only a TUN device of the kernel. Same packet format as upstream.",
  keys: udpKeys,
  devicePatterns: [{ kind: "tun", pattern: /^flannel(0|-\d+)$/, distinguishedBy: "Port" }],
  hasTunnelAddress: true,
  create: (config) => new UdpBackend(config),
  warmUp: warmUpUdp,
  start: startUdp,
  describeFeatures: describeUdpFeatures,
};

/** Outer IP header and UDP header. */
const OVERHEAD_BYTES = { 4: 28, 6: 48 } as const;

/** An IPv6 reach also says which port the peer listens on. */
interface UdpReach extends PeerReach {
  readonly ipv6Port?: number;
}

type Reading = UdpReach | string | undefined;

class UdpBackend implements Backend<unknown, TunnelState> {
  readonly type = "udp";
  readonly devices: readonly string[];
  needsLookUp = (): boolean => false;
  readonly runsDataPlane = true;
  readonly needs: HostNeeds;
  readonly #config: NetworkConfig;
  readonly #options: UdpOptions;
  readonly #device: string;
  /** What each lease says, by family; leases are immutable. */
  readonly #readings: Readonly<Record<Family, WeakMap<Lease, { readonly reading: Reading }>>> = {
    4: new WeakMap(),
    6: new WeakMap(),
  };

  readonly handoverObstacle?: string;

  constructor(config: NetworkConfig) {
    this.#config = config;
    if (config.ipv6 !== undefined) {
      this.handoverObstacle =
        "the udp backend of upstream's flanneld carries IPv4 only: set EnableIPv6 to false or choose another backend first";
    }
    this.#options = readUdpOptions(config);
    this.needs = { carriesTraffic: true, udpPort: this.#options.port };
    const { port } = this.#options;
    this.#device = port === DEFAULT_PORT ? "flannel0" : `flannel-${port}`;
    this.devices = [this.#device];
  }

  mtuBytes(facts: HostFacts, family: Family = this.#config.ipv4 === undefined ? 6 : 4): number {
    return facts.externalInterface.mtuBytes - OVERHEAD_BYTES[family];
  }

  /** As upstream: no backend type. IPv6 is announced with its port, which tells our hosts from upstream's. */
  attributes(facts: HostFacts): LeaseAttributes {
    return {
      ...announcedAddresses(this.#config, facts.externalInterface),
      ...(this.#config.ipv6 !== undefined && { backendV6Data: { Port: this.#options.port } }),
    };
  }

  prepare(leases: readonly Lease[]): void {
    for (const lease of leases) {
      if (this.#config.ipv4 !== undefined) this.#read(4, this.#config.ipv4, lease);
      if (this.#config.ipv6 !== undefined) this.#read(6, this.#config.ipv6, lease);
    }
  }

  plan(own: LeasedSubnets, peers: readonly Lease[], facts: HostFacts): BackendPlan<TunnelState> {
    const skipped: SkippedLease[] = [];
    const ours = selectPeers(this.type, [undefined], this.#config, peers, skipped);
    const leases = { all: peers, ours };
    const reaches4 = this.#reaches(4, own.subnet, leases, facts, skipped);
    const reaches6 = this.#reaches(6, own.ipv6Subnet, leases, facts, skipped);
    return {
      state: {
        link: [this.#link(facts)],
        address: this.#addresses(own),
        route: [
          ...this.#routes(own.subnet && this.#config.ipv4, reaches4, peers, facts),
          ...this.#routes(own.ipv6Subnet && this.#config.ipv6, reaches6, peers, facts),
        ],
        deviceSettings: own.subnet === undefined ? [] : [{ device: this.#device }],
        sysctl: this.#sysctls(own),
      },
      runtime: this.#tunnel(own, tunnelPeers(reaches4, reaches6), facts),
      plannedPeers: countLeases(ours, [reaches4, reaches6]),
      skipped,
    };
  }

  #link(facts: HostFacts): TunLink {
    return { kind: "tun", name: this.#device, mtuBytes: this.mtuBytes(facts) };
  }

  #addresses(own: LeasedSubnets): HostAddress[] {
    return prefixesOf(own).map((subnet) => ({ device: this.#device, address: hostPrefix(subnet) }));
  }

  /** A device inherits `disable_ipv6` from `net.ipv6.conf.default`, and then takes no IPv6 address. */
  #sysctls(own: LeasedSubnets): HostSysctl[] {
    const of = `net/ipv6/conf/${this.#device}`;
    return [
      ...(own.ipv6Subnet === undefined ? [] : [{ key: `${of}/disable_ipv6`, value: "0" }]),
      noRouterAdvertisements(this.#device),
    ];
  }

  #routes(
    pool: AddressPool | undefined,
    reaches: readonly UdpReach[],
    leases: readonly Lease[],
    facts: HostFacts,
  ): readonly HostRoute[] {
    if (pool === undefined) return [];
    // The device has the MTU of the family with more room; the routes of the other one have their own.
    const mtuBytes = this.mtuBytes(facts, familyOf(pool.network));
    const mtu = mtuBytes < this.mtuBytes(facts) ? { mtuBytes } : {};
    return networkDestinations(pool.network, reaches, leases, facts.occupied).map(
      (destination): HostRoute => ({ destination, device: this.#device, onLink: false, ...mtu }),
    );
  }

  #tunnel(own: LeasedSubnets, peers: readonly TunnelPeer[], { externalInterface }: HostFacts): TunnelState {
    const { address, ipv6Address } = externalInterface;
    return {
      device: this.#device,
      ...this.#options,
      ...(own.subnet !== undefined && address !== undefined && { localIpv4: address }),
      ...(own.ipv6Subnet !== undefined && ipv6Address !== undefined && { localIpv6: ipv6Address }),
      own: {
        ...(own.subnet !== undefined && { subnet: own.subnet }),
        ...(own.ipv6Subnet !== undefined && { ipv6Subnet: own.ipv6Subnet }),
      },
      peers,
    };
  }

  #reaches(
    family: Family,
    ownSubnet: Prefix | undefined,
    { all, ours }: { readonly all: readonly Lease[]; readonly ours: readonly Lease[] },
    facts: HostFacts,
    skipped: SkippedLease[],
  ): readonly UdpReach[] {
    const pool = family === 4 ? this.#config.ipv4 : this.#config.ipv6;
    if (pool === undefined || ownSubnet === undefined) return [];
    const external = facts.externalInterface;
    const reaches: UdpReach[] = [];
    for (const lease of ours) {
      const reading = this.#read(family, pool, lease);
      if (reading === undefined) continue;
      if (typeof reading === "string") skipped.push({ key: lease.key, reason: reading });
      else if (isOwnAddress(reading.publicIp, external)) {
        skipped.push({ key: lease.key, reason: `announces this host's own address ${reading.publicIp}` });
      } else reaches.push(reading);
    }
    const { occupied } = facts;
    const settled = settleClaims(reaches, { network: pool.network, ownSubnet, external, occupied, leases: all });
    skipped.push(...settled.skipped);
    return settled.accepted;
  }

  #read(family: Family, pool: AddressPool, lease: Lease): Reading {
    const cached = this.#readings[family].get(lease);
    if (cached !== undefined) return cached.reading;
    const reading = readLease(family, pool, lease);
    this.#readings[family].set(lease, { reading });
    return reading;
  }
}

function readLease(family: Family, pool: AddressPool, lease: Lease): Reading {
  const reach = readReach(lease, family, pool);
  if (family === 4 || reach === undefined || typeof reach === "string") return reach;
  const ipv6Port = portOf(lease.attributes.backendV6Data);
  return ipv6Port === undefined
    ? "announces no IPv6 port, so it does not receive IPv6 packets"
    : { ...reach, ipv6Port };
}

/** `{"Port": 8285}`; undefined for anything else. */
function portOf(data: BackendData | undefined): number | undefined {
  if (typeof data !== "object" || data === null || Array.isArray(data)) return undefined;
  const [, port] = Object.entries(data).find(([name]) => name.toLowerCase() === "port") ?? [];
  return typeof port === "number" && Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined;
}

/** One peer for each lease, with the families it is reached by. */
function tunnelPeers(reaches4: readonly UdpReach[], reaches6: readonly UdpReach[]): readonly TunnelPeer[] {
  const peers = new Map<string, TunnelPeer>();
  for (const { lease, subnet, publicIp } of reaches4) peers.set(lease.key, { key: lease.key, subnet, publicIp });
  for (const { lease, subnet, publicIp, ipv6Port } of reaches6) {
    peers.set(lease.key, {
      key: lease.key,
      ...peers.get(lease.key),
      ipv6Subnet: subnet,
      publicIpv6: publicIp,
      ...(ipv6Port !== undefined && { ipv6Port }),
    });
  }
  return [...peers.values()];
}

function hostPrefix(subnet: Prefix): Prefix {
  const address = prefixAddress(subnet);
  return makePrefix(address, addressBits(subnet.includes(":") ? 6 : 4));
}
