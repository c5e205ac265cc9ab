// The vxlan backend: one VTEP per family; per peer a neighbour, an FDB entry and an on-link route, or one plain route
// where the peer is on our link (DirectRouting). Hosts on our link with the host-gw backend get such a route, too, so that a
// cluster can change from one to the other host by host. Pure.
import type { AddressPool, NetworkConfig } from "../../config/network-config.ts";
import type { HostAddress } from "../../host/kinds/address.ts";
import type { HostDeviceSettings } from "../../host/kinds/device-settings.ts";
import type { HostFdbEntry } from "../../host/kinds/fdb.ts";
import type { VxlanLink } from "../../host/kinds/link-form.ts";
import type { HostNeighbour } from "../../host/kinds/neighbour.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import type { HostSysctl } from "../../host/kinds/sysctl.ts";
import { type Address, addressBits, type Family, makePrefix, type Prefix, prefixAddress } from "../../ip/address.ts";
import type { Lease, LeaseAttributes, LeasedSubnets } from "../../lease/lease.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import { announcedAddresses } from "../announced-addresses.ts";
import type { Backend, BackendModule, BackendPlan, HostFacts, HostNeeds } from "../backend.ts";
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
import { countLeases, settleClaims } from "../settle-claims.ts";
import { settleHolders } from "../settle-holders.ts";
import { SettledPeers } from "../settled-peers.ts";
import { readVtepMac, vtepData } from "./vtep-data.ts";
import { type VtepIdentity, vtepIdentity } from "./vtep-identity.ts";
import { DEFAULT_PORT, OVERHEAD_BYTES, readVxlanOptions, type VxlanOptions, vxlanKeys } from "./vxlan-options.ts";

export const vxlanModule: BackendModule<VtepIdentity> = {
  type: "vxlan",
  summary: "VXLAN encapsulation in the kernel; works if the hosts reach each other over UDP.",
  keys: vxlanKeys,
  devicePatterns: [{ kind: "vxlan", pattern: /^flannel(-v6)?\.\d+$/, distinguishedBy: "VNI" }],
  identity: vtepIdentity,
  hasTunnelAddress: true,
  create: (config) => new VxlanBackend(config),
};

/** How a peer is reached through the tunnel: the three kernel objects, made once per lease. */
interface TunnelReach extends PeerReach {
  readonly mac: string;
  readonly neighbour: HostNeighbour;
  readonly fdb: HostFdbEntry;
  readonly route: HostRoute;
}

/** What one lease says about one family; cached, since leases are immutable. A reach without tunnel is host-gw's. */
type Reading = TunnelReach | PeerReach | SkippedLease | undefined;

interface PeerLeases {
  /** Also those of other backends. */
  readonly all: readonly Lease[];
  readonly ours: readonly Lease[];
}

interface VxlanFamily {
  readonly family: Family;
  readonly pool: AddressPool;
  readonly device: string;
  readonly readings: WeakMap<Lease, { readonly reading: Reading }>;
  /** Those with an MTU of their own. */
  readonly routes: WeakMap<TunnelReach, HostRoute>;
  readonly plainRoutes: GatewayRoutes;
  readonly settled: SettledPeers<TunnelReach>;
}

/** A family's own end of the tunnel. */
interface OwnVtep {
  readonly subnet: Prefix;
  readonly local: Address;
  readonly mac: string;
}

/** What planning collects, over both families. */
class Draft {
  readonly link: VxlanLink[] = [];
  readonly address: HostAddress[] = [];
  readonly route: HostRoute[] = [];
  readonly neighbour: HostNeighbour[] = [];
  readonly fdb: HostFdbEntry[] = [];
  readonly deviceSettings: HostDeviceSettings[] = [];
  readonly sysctl: HostSysctl[] = [];
  readonly skipped: SkippedLease[] = [];
}

/** Facts with our own MACs. */
type VxlanFacts = HostFacts<VtepIdentity>;

class VxlanBackend implements Backend<VtepIdentity> {
  readonly type = "vxlan";
  readonly devices: readonly string[];
  readonly runsDataPlane = false;
  readonly needs: HostNeeds;
  readonly #config: NetworkConfig;
  readonly #options: VxlanOptions;
  readonly #families: readonly VxlanFamily[];

  constructor(config: NetworkConfig) {
    this.#config = config;
    this.#options = readVxlanOptions(config);
    const udpPort = this.#options.port === 0 ? DEFAULT_PORT : this.#options.port;
    this.needs = { carriesTraffic: true, kernelDevice: { kind: "vxlan", udpPort } };
    this.#families = [
      ...(config.ipv4 === undefined ? [] : [newFamily(4, config.ipv4, `flannel.${this.#options.vni}`)]),
      ...(config.ipv6 === undefined ? [] : [newFamily(6, config.ipv6, `flannel-v6.${this.#options.vni}`)]),
    ];
    this.devices = this.#families.map(({ device }) => device);
  }

  mtuBytes(facts: VxlanFacts, family: Family = this.#config.ipv4 === undefined ? 6 : 4): number {
    return this.#deviceMtuBytes(family, facts);
  }

  attributes(facts: VxlanFacts): LeaseAttributes {
    const { vni } = this.#options;
    return {
      ...announcedAddresses(this.#config, facts.externalInterface),
      backendType: this.type,
      ...(this.#config.ipv4 !== undefined && { backendData: vtepData(vni, facts.identity.vtepMac) }),
      ...(this.#config.ipv6 !== undefined && { backendV6Data: vtepData(vni, facts.identity.vtepMacV6) }),
    };
  }

  needsLookUp(lease: Lease): boolean {
    const isOurs = lease.attributes.backendType === this.type;
    return hasOtherPlainType(lease, this.type) || (this.#options.directRouting && isOurs);
  }

  prepare(leases: readonly Lease[]): void {
    for (const family of this.#families) for (const lease of leases) readCached(family, lease);
  }

  /** A family is planned when we hold a subnet of it and the external interface has an address of it. */
  plan(own: LeasedSubnets, peers: readonly Lease[], facts: VxlanFacts): BackendPlan {
    const draft = new Draft();
    const ours = selectPeers(this.type, PLAIN_TYPES, this.#config, peers, draft.skipped);
    const reached: (readonly PeerReach[])[] = [];
    for (const family of this.#families) {
      const vtep = ownVtep(family.family, own, facts);
      if (vtep === undefined) continue;
      this.#planDevice(family, vtep, facts, draft);
      const mtuBytes = this.#deviceMtuBytes(family.family, facts);
      // Containers may have IPv4's: then the host itself has to say that a packet is too big.
      const routeMtuBytes = mtuBytes < this.mtuBytes(facts) ? mtuBytes : undefined;
      reached.push(
        planPeers({ ...family, routeMtuBytes }, vtep, { all: peers, ours }, facts, this.#options.directRouting, draft),
      );
    }
    const { skipped, ...state } = draft;
    return { state, plannedPeers: countLeases(ours, reached), skipped };
  }

  /**
   * Each device takes what its own underlay can carry, so that an IPv4 device looks exactly like flannel's.
   */
  #deviceMtuBytes(family: Family, facts: VxlanFacts): number {
    const external = facts.externalInterface.mtuBytes;
    const asked = this.#options.underlayMtuBytes;
    // The kernel refuses an MTU above that of the underlay device less the overhead (EINVAL).
    return (asked === 0 ? external : Math.min(asked, external)) - OVERHEAD_BYTES[family];
  }

  #planDevice(family: VxlanFamily, vtep: OwnVtep, facts: VxlanFacts, draft: Draft): void {
    const { vni, port, gbp, learning } = this.#options;
    const name = family.device;
    draft.link.push({
      kind: "vxlan",
      name,
      mac: vtep.mac,
      mtuBytes: this.#deviceMtuBytes(family.family, facts),
      vni,
      port,
      local: vtep.local,
      underlay: facts.externalInterface.name,
      learning,
      gbp,
    });
    draft.address.push({
      device: name,
      address: makePrefix(prefixAddress(vtep.subnet), addressBits(family.family)),
    });
    if (family.family === 4) draft.deviceSettings.push({ device: name });
    else draft.sysctl.push({ key: `net/ipv6/conf/${name}/disable_ipv6`, value: "0" });
    draft.sysctl.push(noRouterAdvertisements(name));
  }
}

function newFamily(family: Family, pool: AddressPool, device: string): VxlanFamily {
  return {
    ...{ family, pool, device, readings: new WeakMap(), routes: new WeakMap() },
    ...{ plainRoutes: new GatewayRoutes(), settled: new SettledPeers<TunnelReach>() },
  };
}

/** The tunnel ends at the interface's own address: the kernel drops packets from a public IP this host does not have. */
function ownVtep(family: Family, own: LeasedSubnets, facts: VxlanFacts): OwnVtep | undefined {
  const { address, ipv6Address } = facts.externalInterface;
  const [subnet, local] = family === 4 ? [own.subnet, address] : [own.ipv6Subnet, ipv6Address];
  if (subnet === undefined || local === undefined) return undefined;
  return { subnet, local, mac: family === 4 ? facts.identity.vtepMac : facts.identity.vtepMacV6 };
}

function planPeers(
  family: VxlanFamily & { readonly routeMtuBytes: number | undefined },
  vtep: OwnVtep,
  leases: PeerLeases,
  facts: VxlanFacts,
  directRouting: boolean,
  draft: Draft,
): readonly PeerReach[] {
  const external = facts.externalInterface;
  const accepted = settlePeers(family, vtep, leases, facts, draft.skipped);
  for (const reach of accepted) {
    if (!isTunnel(reach) || (directRouting && facts.directPeers.has(reach.publicIp))) {
      draft.route.push(family.plainRoutes.of(reach, external.name, false));
    } else {
      draft.neighbour.push(reach.neighbour);
      draft.fdb.push(reach.fdb);
      draft.route.push(routeWithMtu(family, reach));
    }
  }
  return accepted;
}

/** The peers that are served, in the order of their leases but for those of host-gw, which come first. */
function settlePeers(
  family: VxlanFamily,
  vtep: OwnVtep,
  { all, ours }: PeerLeases,
  facts: VxlanFacts,
  skipped: SkippedLease[],
): readonly (TunnelReach | PeerReach)[] {
  const { externalInterface: external, occupied } = facts;
  const context = { network: family.pool.network, ownSubnet: vtep.subnet, external, occupied, leases: all };
  const read = (lease: Lease): Reading => checkAgainstOwn(readCached(family, lease), vtep, external);
  const known = family.settled.judge({ ours, context, others: [vtep.mac, vtep.local] }, (lease) => {
    const reading = read(lease);
    return reading !== undefined && isTunnel(reading) ? reading : undefined;
  });
  if (known !== undefined) return known;
  const reaches: (TunnelReach | PeerReach)[] = [];
  for (const lease of ours) {
    const reading = read(lease);
    if (reading === undefined) continue;
    if ("reason" in reading) skipped.push(reading);
    else if (!isTunnel(reading) && !facts.directPeers.has(reading.publicIp)) {
      skipped.push({ key: lease.key, reason: otherBackendOffLink(lease, "vxlan") });
    } else reaches.push(reading);
  }
  const settled = settleClaims(reaches, context);
  skipped.push(...settled.skipped);
  const tunnels = settleHolders(settled.accepted.filter(isTunnel), ({ mac }) => mac, "VtepMAC", skipped);
  const plain = settled.accepted.filter((reach) => !isTunnel(reach));
  if (plain.length > 0) return [...plain, ...tunnels];
  family.settled.remember({ ours, context, others: [vtep.mac, vtep.local] }, tunnels, ({ mac }) => mac);
  return tunnels;
}

/** One object for each lease and MTU: what did not change is the same object in the next plan. */
function routeWithMtu(
  { routes, routeMtuBytes }: VxlanFamily & { readonly routeMtuBytes: number | undefined },
  reach: TunnelReach,
): HostRoute {
  if (routeMtuBytes === undefined) return reach.route;
  const known = routes.get(reach);
  if (known?.mtuBytes === routeMtuBytes) return known;
  const route = { ...reach.route, mtuBytes: routeMtuBytes };
  routes.set(reach, route);
  return route;
}

function readCached(family: VxlanFamily, lease: Lease): Reading {
  const cached = family.readings.get(lease);
  if (cached !== undefined) return cached.reading;
  const reading = readLease(family, lease);
  family.readings.set(lease, { reading });
  return reading;
}

function readLease({ family, pool, device }: VxlanFamily, lease: Lease): Reading {
  const reach = readReach(lease, family, pool);
  if (reach === undefined) return undefined;
  if (typeof reach === "string") return { key: lease.key, reason: reach };
  if (lease.attributes.backendType !== "vxlan") return reach;
  const { backendData, backendV6Data } = lease.attributes;
  const vtep = readVtepMac(family === 4 ? backendData : backendV6Data);
  if ("reason" in vtep) return { key: lease.key, reason: vtep.reason };
  const { mac } = vtep;
  const address = prefixAddress(reach.subnet);
  return {
    ...reach,
    mac,
    neighbour: { device, address, mac },
    fdb: { device, mac, destination: reach.publicIp },
    route: { destination: reach.subnet, device, gateway: address, onLink: true },
  };
}

function isTunnel(reach: TunnelReach | PeerReach | SkippedLease): reach is TunnelReach {
  return "mac" in reach;
}

function checkAgainstOwn(reading: Reading, vtep: OwnVtep, external: ExternalInterface): Reading {
  if (reading === undefined || "reason" in reading) return reading;
  const { key } = reading.lease;
  if (isOwnAddress(reading.publicIp, external))
    return { key, reason: `announces this host's own address ${reading.publicIp}` };
  if (isTunnel(reading) && reading.mac === vtep.mac)
    return { key, reason: `announces this host's own VTEP MAC ${reading.mac}` };
  return reading;
}
