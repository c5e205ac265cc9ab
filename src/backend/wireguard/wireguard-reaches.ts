// Which hosts are reached in one family, at which endpoint and by which key. Leases are read once, and a few changed ones are
// judged alone. Pure.
import type { AddressPool } from "../../config/network-config.ts";
import type { Family, Prefix } from "../../ip/address.ts";
import type { Lease } from "../../lease/lease.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { HostFacts } from "../backend.ts";
import { isOwnAddress, type PeerReach, readReach, type SkippedLease } from "../peer-reach.ts";
import { SettledPeers } from "../settled-peers.ts";
import { readWireguardData } from "./wireguard-data.ts";
import type { WireguardIdentity } from "./wireguard-identity.ts";
import type { WireguardMode } from "./wireguard-options.ts";
import { endpointFamily } from "./wireguard-underlay.ts";

export interface WireguardReach extends PeerReach {
  readonly publicKey: string;
  readonly port: number;
}

type Reading = WireguardReach | SkippedLease | undefined;

export interface WireguardLeases {
  /** All but our own. */
  readonly all: readonly Lease[];
  /** Those of this backend. */
  readonly ours: readonly Lease[];
}

export class WireguardReaches {
  readonly #family: Family;
  readonly #pool: AddressPool;
  readonly #mode: WireguardMode;
  readonly #ownPort: number;
  /** What each lease says, and over which family its host is reached; leases are immutable. */
  readonly #readings = new WeakMap<Lease, { readonly underlay: Family; readonly reading: Reading }>();
  readonly #settled = new SettledPeers<WireguardReach>();

  /** `ownPort`: of the device of this family. Hosts that announce none are called there. */
  constructor(family: Family, pool: AddressPool, mode: WireguardMode, ownPort: number) {
    this.#family = family;
    this.#pool = pool;
    this.#mode = mode;
    this.#ownPort = ownPort;
  }

  /** With `auto` a reading depends on this host's addresses, which are not known here. */
  prepare(leases: readonly Lease[]): void {
    if (this.#mode === "auto") return;
    for (const lease of leases) this.#read(lease, this.#mode === "separate" ? this.#family : modeFamily[this.#mode]);
  }

  settle(
    ownSubnet: Prefix,
    { all, ours }: WireguardLeases,
    facts: HostFacts<WireguardIdentity>,
    skipped: SkippedLease[],
  ): readonly WireguardReach[] {
    const { externalInterface: external, occupied, identity } = facts;
    const inputs = {
      ours,
      context: { network: this.#pool.network, ownSubnet, external, occupied, leases: all },
      others: [identity.publicKey],
    };
    const read = (lease: Lease): Reading => refuseOwn(this.#read(lease, this.#underlay(lease, external)), facts);
    return this.#settled.settle(inputs, read, skipped, { name: "PublicKey", of: ({ publicKey }) => publicKey });
  }

  #underlay({ attributes }: Lease, external: ExternalInterface): Family {
    return this.#mode === "separate" ? this.#family : endpointFamily(this.#mode, attributes, external);
  }

  #read(lease: Lease, underlay: Family): Reading {
    const known = this.#readings.get(lease);
    if (known?.underlay === underlay) return known.reading;
    const reading = this.#reread(lease, underlay);
    this.#readings.set(lease, { underlay, reading });
    return reading;
  }

  #reread(lease: Lease, underlay: Family): Reading {
    const { key } = lease;
    const reach = readReach(lease, this.#family, this.#pool, underlay);
    if (reach === undefined) return undefined;
    if (typeof reach === "string") return { key, reason: reach };
    const data = this.#readData(lease);
    if ("reason" in data) return { key, reason: data.reason };
    return { ...reach, publicKey: data.publicKey, port: data.port ?? this.#ownPort };
  }

  /** A host with one device for both families has one key and one port; upstream's IPv6 data may name another port. */
  #readData({ attributes: { backendData, backendV6Data } }: Lease) {
    if (this.#mode === "separate") return readWireguardData(this.#family === 4 ? backendData : backendV6Data);
    return readWireguardData(backendData ?? backendV6Data);
  }
}

const modeFamily = { ipv4: 4, ipv6: 6 } as const;

function refuseOwn(reading: Reading, { externalInterface, identity }: HostFacts<WireguardIdentity>): Reading {
  if (reading === undefined || "reason" in reading) return reading;
  const { key } = reading.lease;
  if (isOwnAddress(reading.publicIp, externalInterface))
    return { key, reason: `announces this host's own address ${reading.publicIp}` };
  if (reading.publicKey === identity.publicKey) return { key, reason: "announces this host's own PublicKey" };
  return reading;
}
