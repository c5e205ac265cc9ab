// What the backends of cloud providers share: each host has one route in the provider's route tables, which leads its
// subnet to it, and the kernel sends packets for other subnets to the provider's gateway as everything else. Pure.
import type { BackendKey } from "../config/backend-key.ts";
import { type BackendOptions, readBackendOptions, stringOption, stringsOption } from "../config/backend-options.ts";
import type { NetworkConfig } from "../config/network-config.ts";
import { FlannelError } from "../errors.ts";
import type { Address, Prefix } from "../ip/address.ts";
import type { Lease, LeaseAttributes, LeasedSubnets } from "../lease/lease.ts";
import { announcedAddresses } from "./announced-addresses.ts";
import type { Backend, BackendModule, BackendPlan, HostFacts, RuntimeFeatures } from "./backend.ts";
import { isOwnAddress, readReach, type SkippedLease, selectPeers } from "./peer-reach.ts";

/** What the runtime keeps in the cloud. */
export interface CloudPlan {
  readonly network: Prefix;
  /** This host's. */
  readonly subnet: Prefix;
  /** Of other leases. */
  readonly others: readonly Prefix[];
  /** Of the external interface: one that the provider knows this host by. */
  readonly address: Address;
  readonly access: CloudAccess;
}

/** How the provider is reached, out of the configuration. */
export interface CloudAccess {
  /** Empty: the one that the provider uses for this host. */
  readonly tables: readonly string[];
  /** Secrets; undefined: by the provider's own ways. */
  readonly key?: { readonly id: string; readonly secret: string };
}

export interface CloudBackendParts {
  readonly type: string;
  readonly summary: string;
  readonly keys: readonly BackendKey[];
  /** Throws `CONFIG_INVALID`. */
  readAccess(options: BackendOptions): CloudAccess;
  readonly start: NonNullable<BackendModule<unknown, CloudPlan>["start"]>;
}

export function cloudModule(parts: CloudBackendParts): BackendModule<unknown, CloudPlan> {
  const { type, summary, keys, start } = parts;
  return {
    type,
    summary,
    keys,
    devicePatterns: [],
    create: (config) => new CloudBackend(parts, config),
    start,
    describeFeatures: describeCloudFeatures,
  };
}

/** Where hosts have route tables by names that can be chosen. `pattern` is of one name. */
export function routeTableKey(example: string, fallback: string): BackendKey {
  return {
    name: "RouteTableID",
    type: "strings",
    defaultValue: [],
    defaultText: fallback,
    description: `The route table that gets this host's route, such as \`"${example}"\`, or a list of them.`,
    live: true,
  };
}

/** Throws `CONFIG_INVALID` naming the one that is no table's name. */
export function readTables(options: BackendOptions, pattern: RegExp, example: string): readonly string[] {
  const tables = stringsOption(options, "RouteTableID");
  const wrong = tables.find((table) => !pattern.test(table));
  if (wrong === undefined) return tables;
  const rule = `is not the id of a route table, such as ${example}`;
  throw new FlannelError(
    "CONFIG_INVALID",
    `network config: Backend.RouteTableID ${JSON.stringify(wrong.slice(0, 60))} ${rule}`,
    {
      details: { key: "Backend.RouteTableID", value: wrong, rule },
    },
  );
}

/** Of providers whose access key may stand in the configuration. Both or none. */
export const accessKeyKeys: readonly BackendKey[] = [
  {
    name: "AccessKeyID",
    type: "string",
    defaultValue: "",
    defaultText: "see cloud.md",
    description:
      "Id of the access key; together with `AccessKeySecret`. Every host that reads the config learns it: better give hosts a role.",
    live: true,
  },
  {
    name: "AccessKeySecret",
    type: "string",
    defaultValue: "",
    defaultText: "see cloud.md",
    description: "Secret of the access key.",
    isSecret: true,
    live: true,
  },
];

/** As upstream: where one of the two is missing, both are looked for elsewhere. */
export function readAccessKey(options: BackendOptions): Pick<CloudAccess, "key"> {
  const [id, secret] = [stringOption(options, "AccessKeyID"), stringOption(options, "AccessKeySecret")];
  return id === "" || secret === "" ? {} : { key: { id, secret } };
}

class CloudBackend implements Backend<unknown, CloudPlan> {
  readonly type: string;
  readonly devices: readonly string[] = [];
  readonly runsDataPlane = false;
  readonly needs = { carriesTraffic: true };
  readonly #config: NetworkConfig;
  readonly #network: Prefix;
  readonly #access: CloudAccess;

  constructor({ type, keys, readAccess }: CloudBackendParts, config: NetworkConfig) {
    this.type = type;
    this.#config = config;
    this.#access = readAccess(readBackendOptions(keys, config.backend));
    if (config.ipv4 === undefined || config.ipv6 !== undefined) throw ipv4Only(type, config.ipv4 === undefined);
    this.#network = config.ipv4.network;
  }

  needsLookUp(): boolean {
    return false;
  }

  mtuBytes(facts: HostFacts): number {
    return facts.externalInterface.mtuBytes;
  }

  /** As flannel's: no backend type. */
  attributes(facts: HostFacts): LeaseAttributes {
    return announcedAddresses(this.#config, facts.externalInterface);
  }

  prepare(): void {
    // A lease is read in no time.
  }

  plan(own: LeasedSubnets, peers: readonly Lease[], facts: HostFacts): BackendPlan<CloudPlan> {
    const skipped: SkippedLease[] = [];
    const { address } = facts.externalInterface;
    const others = this.#others(peers, facts, skipped);
    const runtime =
      own.subnet === undefined || address === undefined
        ? undefined
        : { network: this.#network, subnet: own.subnet, others, address, access: this.#access };
    return { state: {}, ...(runtime !== undefined && { runtime }), plannedPeers: others.length, skipped };
  }

  #others(peers: readonly Lease[], facts: HostFacts, skipped: SkippedLease[]): readonly Prefix[] {
    const pool = this.#config.ipv4;
    if (pool === undefined) return [];
    return selectPeers(this.type, [undefined, this.type], this.#config, peers, skipped).flatMap((lease) => {
      const reach = readReach(lease, 4, pool);
      if (reach === undefined) return [];
      if (typeof reach !== "string" && !isOwnAddress(reach.publicIp, facts.externalInterface)) return [reach.subnet];
      const reason = typeof reach === "string" ? reach : `announces this host's own address ${reach.publicIp}`;
      skipped.push({ key: lease.key, reason });
      return [];
    });
  }
}

function ipv4Only(type: string, lacksIpv4: boolean): FlannelError {
  const key = lacksIpv4 ? "EnableIPv4" : "EnableIPv6";
  const rule = `must be ${String(lacksIpv4)} with the backend ${type}, which has routes for IPv4 only`;
  return new FlannelError("CONFIG_INVALID", `network config: ${key} ${String(!lacksIpv4)} ${rule}`, {
    details: { key, value: !lacksIpv4, rule },
  });
}

function describeCloudFeatures(features: RuntimeFeatures): string {
  const { instance, nextHop, tables, lastLookFailed } = features;
  const failure = lastLookFailed === undefined ? "" : `; the last look failed: ${String(lastLookFailed)}`;
  return `routes to ${String(nextHop)} in ${String(tables)}, as ${String(instance)}${failure}`;
}
