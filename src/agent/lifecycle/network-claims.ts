// What one network of this agent may not share with another: devices, UDP ports, addresses. Who has it keeps it, and the
// other one is refused by name. What a network had in the last run is its own before it has read its configuration.
import type { Backend } from "../../backend/backend.ts";
import type { NetworkConfig } from "../../config/network-config.ts";
import { FlannelError } from "../../errors.ts";
import type { Prefix } from "../../ip/address.ts";
import { overlaps } from "../../ip/prefix.ts";
import { type LeasedSubnets, prefixesOf } from "../../lease/lease.ts";
import type { SubnetStore } from "../../store/subnet-store.ts";

export interface NetworkClaim {
  readonly devices: readonly string[];
  /** The kernel's vxlan devices may share a port; two programs may not. */
  readonly ports: readonly { readonly port: number; readonly sharedBy?: string }[];
  readonly networks: readonly Prefix[];
  /** Of its own; missing: the main one. */
  readonly table?: number;
}

/** What a network of an agent sees of the others. */
export interface OtherNetworks {
  /** In place of what it claimed before. Throws `CONFIG_INVALID`, naming the other network; then it keeps what it had. */
  claim(claim: NetworkClaim): void;
  /** The subnets leased to this host for its containers. Throws as `claim`. */
  holdSubnets(own: LeasedSubnets): void;
  /** Those that the others hold: none of ours may overlap them. */
  subnets(): readonly Prefix[];
  /** One network at a time: two that lease at the same moment would not know of each other's subnets. */
  inTurn<T>(task: () => Promise<T>): Promise<T>;
}

/** The store, of which the networks of an agent lease one after another: a new subnet overlaps none that another one holds. */
export function leasingInTurn({
  store,
  others,
}: {
  readonly store: Pick<SubnetStore, "acquire">;
  readonly others: OtherNetworks;
}): Pick<SubnetStore, "acquire"> {
  return {
    acquire: (request, signal) =>
      others.inTurn(async () => {
        const avoid = [...(request.avoid ?? []), ...others.subnets()];
        const acquired = await store.acquire({ ...request, avoid }, signal);
        others.holdSubnets(acquired.lease);
        return acquired;
      }),
  };
}

/** Of an agent with one network. */
export const noOtherNetworks: OtherNetworks = {
  claim: () => undefined,
  holdSubnets: () => undefined,
  subnets: () => [],
  inTurn: (task) => task(),
};

export function claimOf({ ipv4, ipv6, routing }: NetworkConfig, { devices, needs }: Backend): NetworkClaim {
  const { kernelDevice, udpPort } = needs;
  return {
    devices,
    ports: [
      ...(kernelDevice?.udpPort === undefined ? [] : [{ port: kernelDevice.udpPort, sharedBy: kernelDevice.kind }]),
      ...(udpPort === undefined ? [] : [{ port: udpPort }]),
    ],
    networks: [ipv4?.network, ipv6?.network].filter((network) => network !== undefined),
    ...(routing !== undefined && { table: routing.table }),
  };
}

interface Held {
  claim: NetworkClaim;
  subnets: readonly Prefix[];
}

const nothing: NetworkClaim = { devices: [], ports: [], networks: [] };

export class NetworkClaims {
  readonly #held = new Map<string, Held>();
  readonly #deviceKeys: string;
  readonly #onFreed: () => void;
  #turn: Promise<unknown> = Promise.resolve();

  /** `deviceKeys`: see `DeviceClaims`. `onFreed`: what was refused may be had now. */
  constructor(deviceKeys: string, onFreed: () => void) {
    this.#deviceKeys = deviceKeys;
    this.#onFreed = onFreed;
  }

  /** What a network had before this start, unless another one has it already. */
  remember(name: string, claim: NetworkClaim): void {
    if (this.#conflict(name, claim) === undefined) this.#of(name).claim = claim;
  }

  for(name: string): OtherNetworks {
    return {
      claim: (claim) => {
        const conflict = this.#conflict(name, claim);
        if (conflict !== undefined) throw refusal(conflict);
        this.#of(name).claim = claim;
        this.#onFreed();
      },
      holdSubnets: (own) => this.#holdSubnets(name, prefixesOf(own)),
      subnets: () => this.#others(name).flatMap(([, { subnets }]) => subnets),
      inTurn: (task) => this.#inTurn(task),
    };
  }

  /** The network is gone from this host. */
  release(name: string): void {
    if (this.#held.delete(name)) this.#onFreed();
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(task);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  #of(name: string): Held {
    const held = this.#held.get(name) ?? { claim: nothing, subnets: [] };
    this.#held.set(name, held);
    return held;
  }

  #others(name: string): [string, Held][] {
    return [...this.#held].filter(([other]) => other !== name);
  }

  #holdSubnets(name: string, subnets: readonly Prefix[]): void {
    for (const [other, held] of this.#others(name)) {
      for (const theirs of held.subnets) {
        const ours = subnets.find((subnet) => overlaps(subnet, theirs));
        if (ours === undefined) continue;
        throw refusal(
          `this host's subnet ${ours} overlaps its subnet ${theirs} of network ${other}: revoke one of the two leases`,
        );
      }
    }
    this.#of(name).subnets = subnets;
  }

  #conflict(name: string, claim: NetworkClaim): string | undefined {
    for (const [other, { claim: theirs }] of this.#others(name)) {
      const device = claim.devices.find((one) => theirs.devices.includes(one));
      if (device !== undefined) {
        return `its device ${device} is in use by network ${other}: give each network its own ${this.#deviceKeys}`;
      }
      const port = claim.ports.find((one) => theirs.ports.some((their) => excludes(one, their)));
      if (port !== undefined) {
        return `its UDP port ${port.port} is in use by network ${other}: give each network its own Port`;
      }
      // Each takes the rules that lead there for its own, and would remove those of the other.
      if (claim.table !== undefined && claim.table === theirs.table) {
        return `its RoutingTable ${claim.table} is in use by network ${other}: give each network its own RoutingTable`;
      }
      for (const network of claim.networks) {
        const overlapped = theirs.networks.find((their) => overlaps(network, their));
        if (overlapped !== undefined && !areApart(claim, theirs)) {
          return `its network ${network} overlaps ${overlapped} of network ${other}: give each of them a RoutingTable of its own`;
        }
      }
    }
    return undefined;
  }
}

function areApart({ table: one }: NetworkClaim, { table: other }: NetworkClaim): boolean {
  return one !== undefined && other !== undefined;
}

type Port = NetworkClaim["ports"][number];

function excludes(one: Port, other: Port): boolean {
  return one.port === other.port && (one.sharedBy === undefined || one.sharedBy !== other.sharedBy);
}

function refusal(conflict: string): FlannelError {
  return new FlannelError("CONFIG_INVALID", `the network cannot be served beside the others of this host: ${conflict}`);
}
