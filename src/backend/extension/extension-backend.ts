// The extension backend: commands of the configuration connect the hosts. Planned is what they get: variables and data
// of this host and of each peer. Pure.
import type { AddressPool, NetworkConfig } from "../../config/network-config.ts";
import type { ExtensionPeer, ExtensionState, Variables } from "../../extension/extension-state.ts";
import type { Family } from "../../ip/address.ts";
import type { Lease, LeaseAttributes, LeasedSubnets } from "../../lease/lease.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import { announcedAddresses } from "../announced-addresses.ts";
import type { Backend, BackendModule, BackendPlan, HostFacts } from "../backend.ts";
import { isOwnAddress, type PeerReach, readReach, type SkippedLease, selectPeers } from "../peer-reach.ts";
import { countLeases, settleClaims } from "../settle-claims.ts";
import { type ExtensionOptions, extensionKeys, readExtensionOptions } from "./extension-options.ts";
import { cleanUpExtension, describeExtension, extensionStartUp, startExtension } from "./extension-runtime.ts";

export const extensionModule: BackendModule<unknown, ExtensionState> = {
  type: "extension",
  summary: "Commands of the configuration connect the hosts; for prototypes and for what no other backend does.",
  keys: extensionKeys,
  devicePatterns: [],
  create: (config) => new ExtensionBackend(config),
  startUp: (config, services) => extensionStartUp(readExtensionOptions(config).commands, services),
  start: startExtension,
  cleanUp: (config, services) => cleanUpExtension(readExtensionOptions(config).commands, services),
  describeFeatures: describeExtension,
};

/** As upstream passes to PostStartupCommand what is missing. */
const ABSENT = { network: { 4: "0.0.0.0/0", 6: "::/0" }, publicIp: { 4: "0.0.0.0", 6: "<nil>" } } as const;

class ExtensionBackend implements Backend<unknown, ExtensionState> {
  readonly type = "extension";
  readonly devices: readonly string[] = [];
  needsLookUp = (): boolean => false;
  readonly runsDataPlane = false;
  readonly needs = { carriesTraffic: true };
  readonly handoverObstacle?: string;
  readonly #config: NetworkConfig;
  readonly #options: ExtensionOptions;

  constructor(config: NetworkConfig) {
    this.#config = config;
    this.#options = readExtensionOptions(config);
    if (this.#options.commands.shell) {
      this.handoverObstacle =
        'upstream\'s flanneld runs commands without a shell since v0.28.2 and does not know "Shell": write them as programs first';
    }
  }

  mtuBytes({ externalInterface }: HostFacts): number {
    return this.#options.mtuBytes === 0 ? externalInterface.mtuBytes : this.#options.mtuBytes;
  }

  /** As upstream, the addresses of the interface: what --public-ip says is for hosts that translate addresses. */
  attributes({ externalInterface, startUpData }: HostFacts): LeaseAttributes {
    return {
      ...announcedAddresses(this.#config, withoutNat(externalInterface)),
      backendType: this.type,
      ...(startUpData !== undefined && { backendData: startUpData }),
    };
  }

  prepare(): void {
    // A lease is read in microseconds.
  }

  plan(own: LeasedSubnets, peers: readonly Lease[], facts: HostFacts): BackendPlan<ExtensionState> {
    const skipped: SkippedLease[] = [];
    const ours = selectPeers(this.type, [this.type], this.#config, peers, skipped);
    const readable = ours.filter((lease) => {
      if (inputOf(lease) !== undefined) return true;
      skipped.push({ key: lease.key, reason: "its BackendData is not a text" });
      return false;
    });
    const leases = { all: peers, ours: readable };
    const reached = ([4, 6] as const).map((family) => this.#reaches(family, own, leases, facts, skipped));
    const runtime = {
      commands: this.#options.commands,
      own: this.#ownVariables(own, facts),
      peers: peersOf(reached.flat()),
    };
    return { state: {}, runtime, plannedPeers: countLeases(readable, reached), skipped };
  }

  #reaches(
    family: Family,
    own: LeasedSubnets,
    { all, ours }: { readonly all: readonly Lease[]; readonly ours: readonly Lease[] },
    { externalInterface: external, occupied }: HostFacts,
    skipped: SkippedLease[],
  ): readonly PeerReach[] {
    const pool: AddressPool | undefined = family === 4 ? this.#config.ipv4 : this.#config.ipv6;
    const ownSubnet = family === 4 ? own.subnet : own.ipv6Subnet;
    if (pool === undefined || ownSubnet === undefined) return [];
    const found: PeerReach[] = [];
    for (const lease of ours) {
      const reading = readReach(lease, family, pool);
      if (reading === undefined) continue;
      if (typeof reading === "string") skipped.push({ key: lease.key, reason: reading });
      else if (isOwnAddress(reading.publicIp, external)) {
        skipped.push({ key: lease.key, reason: `announces this host's own address ${reading.publicIp}` });
      } else found.push(reading);
    }
    const settled = settleClaims(found, { network: pool.network, ownSubnet, external, occupied, leases: all });
    skipped.push(...settled.skipped);
    return settled.accepted;
  }

  #ownVariables({ subnet, ipv6Subnet }: LeasedSubnets, { externalInterface }: HostFacts): Variables {
    const { ipv4, ipv6 } = this.#config;
    const { address, ipv6Address } = externalInterface;
    const { network, publicIp } = ABSENT;
    return {
      NETWORK: ipv4?.network ?? network[4],
      SUBNET: subnet ?? network[4],
      IPV6SUBNET: ipv6Subnet ?? network[6],
      PUBLIC_IP: (ipv4 === undefined ? undefined : address) ?? publicIp[4],
      PUBLIC_IPV6: (ipv6 === undefined ? undefined : ipv6Address) ?? publicIp[6],
      IPV6NETWORK: ipv6?.network ?? network[6],
    };
  }
}

function withoutNat({ publicIp, publicIpv6, ...external }: ExternalInterface): ExternalInterface {
  const { address = publicIp, ipv6Address = publicIpv6 } = external;
  return {
    ...external,
    ...(address !== undefined && { publicIp: address }),
    ...(ipv6Address !== undefined && { publicIpv6: ipv6Address }),
  };
}

/** Undefined when it cannot be given to a command. A host without PreStartupCommand announces none. */
function inputOf({ attributes: { backendData } }: Lease): string | undefined {
  if (backendData === undefined || backendData === null) return "";
  return typeof backendData === "string" ? backendData : undefined;
}

/** One for each lease: empty variables for a family in which it is not reached. */
function peersOf(reaches: readonly PeerReach[]): readonly ExtensionPeer[] {
  const byLease = Map.groupBy(reaches, ({ lease }) => lease);
  return [...byLease].map(([lease, families]) => {
    const of = (family: Family) => families.find(({ subnet }) => subnet.includes(":") === (family === 6));
    const [ipv4, ipv6] = [of(4), of(6)];
    const variables = {
      SUBNET: ipv4?.subnet ?? "",
      PUBLIC_IP: ipv4?.publicIp ?? "",
      IPV6SUBNET: ipv6?.subnet ?? "",
      PUBLIC_IPV6: ipv6?.publicIp ?? "",
    };
    return { key: lease.key, variables, input: inputOf(lease) ?? "" };
  });
}
