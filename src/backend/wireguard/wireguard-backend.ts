// The wireguard backend: a WireGuard device for each family, or one for both; per peer its key, endpoint and subnets.
// Pure.
import type { AddressPool, NetworkConfig } from "../../config/network-config.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import type { HostSysctl } from "../../host/kinds/sysctl.ts";
import { addressBits, type Family, familyOf, makePrefix, type Prefix, prefixAddress } from "../../ip/address.ts";
import type { Lease, LeaseAttributes, LeasedSubnets } from "../../lease/lease.ts";
import { announcedAddresses } from "../announced-addresses.ts";
import type {
  Backend,
  BackendModule,
  BackendPlan,
  HostFacts,
  HostNeeds,
  ObservedObjects,
  RuntimeStatus,
  SecretFileUse,
} from "../backend.ts";
import { networkDestinations } from "../network-destinations.ts";
import { type SkippedLease, selectPeers } from "../peer-reach.ts";
import { noRouterAdvertisements } from "../router-advertisements.ts";
import { countLeases } from "../settle-claims.ts";
import { planStaticPeers, type StaticPeerPlan } from "./plan-static-peers.ts";
import { presharedKeyOf, secretFilesOf } from "./preshared-keys.ts";
import { readWireguardData, wireguardData } from "./wireguard-data.ts";
import { type WireguardIdentity, wireguardIdentity } from "./wireguard-identity.ts";
import { readWireguardOptions, type WireguardOptions, wireguardKeys } from "./wireguard-options.ts";
import { WireguardPeers } from "./wireguard-peers.ts";
import { type WireguardReach, WireguardReaches } from "./wireguard-reaches.ts";
import { wireguardTraffic } from "./wireguard-traffic.ts";

export const wireguardModule: BackendModule<WireguardIdentity> = {
  type: "wireguard",
  summary: "WireGuard encryption in the kernel, or by wireguard-go where the kernel has none.",
  keys: wireguardKeys,
  devicePatterns: [
    { kind: "wireguard", pattern: /^flannel-wg(-v6)?$/, distinguishedBy: "Mode" },
    { kind: "tun", pattern: /^flannel-wg(-v6)?$/, distinguishedBy: "Mode" },
  ],
  identity: wireguardIdentity,
  hasTunnelAddress: true,
  create: (config) => new WireguardBackend(config),
  describeFeatures: ({ implementation }) =>
    implementation === "kernel"
      ? "WireGuard of the kernel"
      : "WireGuard in user space (wireguard-go): this kernel has none",
};

type WireguardFacts = HostFacts<WireguardIdentity>;

interface WireguardDevice {
  readonly name: string;
  readonly listenPort: number;
  readonly families: readonly Family[];
  readonly peers: WireguardPeers;
}

class WireguardBackend implements Backend<WireguardIdentity> {
  readonly type = "wireguard";
  readonly devices: readonly string[];
  needsLookUp = (): boolean => false;
  readonly runsDataPlane = false;
  readonly needs: HostNeeds;
  readonly secretFiles: readonly SecretFileUse[];
  readonly furtherNetworks: readonly Prefix[];
  readonly #config: NetworkConfig;
  readonly #options: WireguardOptions;
  readonly #devices: readonly WireguardDevice[];
  readonly #pools: ReadonlyMap<Family, AddressPool>;
  readonly #reaches: ReadonlyMap<Family, WireguardReaches>;

  constructor(config: NetworkConfig) {
    this.#config = config;
    this.#options = readWireguardOptions(config);
    const pools: [Family, AddressPool | undefined][] = [
      [4, config.ipv4],
      [6, config.ipv6],
    ];
    this.#pools = new Map(pools.flatMap(([family, pool]) => (pool === undefined ? [] : [[family, pool]])));
    this.needs = { carriesTraffic: true, udpPort: receivingPort(this.#options, config) };
    this.#devices = devicesOf(this.#options, [...this.#pools.keys()]);
    this.devices = this.#devices.map(({ name }) => name);
    this.#reaches = new Map(this.#devices.flatMap((device) => reachesOf(device, this.#options, this.#pools)));
    this.secretFiles = secretFilesOf(this.#options);
    this.furtherNetworks = this.#options.staticPeers.flatMap(({ allowedIps }) => allowedIps);
  }

  mtuBytes(facts: WireguardFacts, family: Family = this.#config.ipv4 === undefined ? 6 : 4): number {
    const { mode, underlayMtuBytes, overheadBytes } = this.#options;
    const underlays: Readonly<Record<typeof mode, readonly Family[]>> = {
      separate: [family],
      auto: [4, 6],
      ipv4: [4],
      ipv6: [6],
    };
    const overhead = Math.max(...underlays[mode].map((underlay) => overheadBytes[underlay]));
    return (underlayMtuBytes === 0 ? facts.externalInterface.mtuBytes : underlayMtuBytes) - overhead;
  }

  attributes({ identity, externalInterface }: WireguardFacts): LeaseAttributes {
    const { mode, listenPort, listenPortV6 } = this.#options;
    const { publicKey } = identity.next ?? identity;
    const data = (port: number) => wireguardData(publicKey, port);
    return {
      ...announcedAddresses(this.#config, externalInterface),
      backendType: this.type,
      ...(this.#config.ipv4 !== undefined && { backendData: data(listenPort) }),
      // Upstream announces ListenPortV6 in every mode, also where nothing listens there: its peers cannot be reached at it.
      ...(this.#config.ipv6 !== undefined && { backendV6Data: data(mode === "separate" ? listenPortV6 : listenPort) }),
    };
  }

  prepare(leases: readonly Lease[]): void {
    for (const reaches of this.#reaches.values()) reaches.prepare(leases);
  }

  plan(own: LeasedSubnets, peers: readonly Lease[], facts: WireguardFacts): BackendPlan {
    const skipped: SkippedLease[] = [];
    const ours = selectPeers(this.type, [this.type], this.#config, peers, skipped);
    const settled = new Map<Family, readonly WireguardReach[]>();
    for (const [family, reaches] of this.#reaches) {
      const subnet = subnetOf(own, family);
      if (subnet !== undefined) settled.set(family, reaches.settle(subnet, { all: peers, ours }, facts, skipped));
    }
    const present = this.#devices.filter(({ families }) =>
      families.some((family) => subnetOf(own, family) !== undefined),
    );
    const { privateKey, publicKey } = facts.identity;
    const presharedKey = presharedKeyOf(this.#options.presharedKey, facts);
    const further = this.#staticPeers(present, own, peers, facts);
    skipped.push(...further.skipped);
    return {
      state: {
        link: present.map(({ name, families: [family] }) => {
          return { kind: "wireguard" as const, name, mtuBytes: this.mtuBytes(facts, family) };
        }),
        address: present.flatMap(({ name, families }) => addresses(name, families, own)),
        wireguard: present.map(({ name, listenPort }) => ({ device: name, privateKey, publicKey, listenPort })),
        wireguardPeer: [
          ...present.flatMap(({ families, peers: made }) => {
            return made.of(
              families.flatMap((family) => settled.get(family) ?? []),
              presharedKey,
            );
          }),
          ...further.peers,
        ],
        route: [...present.flatMap((device) => this.#routes(device, own, settled, peers, facts)), ...further.routes],
        deviceSettings: present.flatMap(({ name, families }) => (families.includes(4) ? [{ device: name }] : [])),
        sysctl: present.flatMap((device) => sysctls(device.name, hasIpv6(device, own, further.routes))),
      },
      plannedPeers: countLeases(ours, [settled.get(4) ?? [], settled.get(6) ?? []]),
      skipped,
    };
  }

  observedTraffic(peers: readonly Lease[], observed: ObservedObjects): RuntimeStatus {
    return wireguardTraffic(peers, this.#options.staticPeers, observed);
  }

  /** On the first device, also for the other family: a static peer knows each host by one key, and so at one port. */
  #staticPeers(
    [first]: readonly WireguardDevice[],
    own: LeasedSubnets,
    leases: readonly Lease[],
    facts: WireguardFacts,
  ): StaticPeerPlan {
    const { staticPeers } = this.#options;
    if (first === undefined || staticPeers.length === 0) return { peers: [], routes: [], skipped: [] };
    const announced = leases.flatMap(({ attributes: { backendData, backendV6Data } }) => [backendData, backendV6Data]);
    const keys = announced.map(readWireguardData).flatMap((data) => ("publicKey" in data ? data.publicKey : []));
    const hostKeys = new Set([facts.identity.publicKey, ...keys]);
    return planStaticPeers(staticPeers, { device: first.name, own, leases, hostKeys, facts });
  }

  #routes(
    { name, families }: WireguardDevice,
    own: LeasedSubnets,
    reaches: ReadonlyMap<Family, readonly WireguardReach[]>,
    leases: readonly Lease[],
    facts: WireguardFacts,
  ): HostRoute[] {
    return families.flatMap((family) => {
      const pool = this.#pools.get(family);
      if (pool === undefined || subnetOf(own, family) === undefined) return [];
      // Containers have IPv4's MTU: where IPv6 has less, its routes say so.
      const mtuBytes = this.mtuBytes(facts, family);
      const mtu = mtuBytes < this.mtuBytes(facts) ? { mtuBytes } : {};
      return networkDestinations(pool.network, reaches.get(family) ?? [], leases, facts.occupied).map(
        (destination): HostRoute => ({ destination, device: name, onLink: false, isLinkScope: true, ...mtu }),
      );
    });
  }
}

function devicesOf(
  { mode, listenPort, listenPortV6, keepaliveSeconds }: WireguardOptions,
  enabled: readonly Family[],
): WireguardDevice[] {
  const device = (name: string, port: number, families: readonly Family[]): WireguardDevice => {
    return { name, listenPort: port, families, peers: new WireguardPeers(name, keepaliveSeconds) };
  };
  if (mode !== "separate") return [device("flannel-wg", listenPort, enabled)];
  return enabled.map((family) =>
    family === 4 ? device("flannel-wg", listenPort, [4]) : device("flannel-wg-v6", listenPortV6, [6]),
  );
}

function reachesOf(
  { families, listenPort }: WireguardDevice,
  { mode }: WireguardOptions,
  pools: ReadonlyMap<Family, AddressPool>,
): [Family, WireguardReaches][] {
  return families.flatMap((family): [Family, WireguardReaches][] => {
    const pool = pools.get(family);
    return pool === undefined ? [] : [[family, new WireguardReaches(family, pool, mode, listenPort)]];
  });
}

/** Of the first device. */
function receivingPort({ mode, listenPort, listenPortV6 }: WireguardOptions, { ipv4 }: NetworkConfig): number {
  return mode === "separate" && ipv4 === undefined ? listenPortV6 : listenPort;
}

function subnetOf(own: LeasedSubnets, family: Family): Prefix | undefined {
  return family === 4 ? own.subnet : own.ipv6Subnet;
}

function addresses(device: string, families: readonly Family[], own: LeasedSubnets) {
  return families.flatMap((family) => {
    const subnet = subnetOf(own, family);
    return subnet === undefined ? [] : [{ device, address: makePrefix(prefixAddress(subnet), addressBits(family)) }];
  });
}

/** A device inherits `disable_ipv6` from `net.ipv6.conf.default`, and then takes no IPv6 address. */
function sysctls(device: string, isIpv6: boolean): HostSysctl[] {
  const of = `net/ipv6/conf/${device}`;
  return [...(isIpv6 ? [{ key: `${of}/disable_ipv6`, value: "0" }] : []), noRouterAdvertisements(device)];
}

/** Static peers may have IPv6 behind a device that carries IPv4 between the hosts. */
function hasIpv6({ name, families }: WireguardDevice, own: LeasedSubnets, further: readonly HostRoute[]): boolean {
  if (families.includes(6) && own.ipv6Subnet !== undefined) return true;
  return further.some(({ device, destination }) => device === name && familyOf(destination) === 6);
}
