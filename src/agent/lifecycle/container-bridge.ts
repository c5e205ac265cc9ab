// The bridge of containers, as the CNI plugin `bridge` made it: does it still fit the network, what can be done about that
// while containers live, and what only their renewal ends. Pure.
import type { Finding } from "../../doctor/finding.ts";
import type { Prefix } from "../../ip/address.ts";
import { prefixAddress } from "../../ip/address.ts";
import { containsAddress } from "../../ip/prefix.ts";

export interface BridgeFacts {
  readonly name: string;
  readonly mtuBytes: number;
  readonly addresses: readonly Prefix[];
  readonly ports: readonly { readonly name: string; readonly mtuBytes: number }[];
}

export interface BridgeWish {
  readonly ownSubnets: readonly Prefix[];
  readonly earlierSubnets: readonly Prefix[];
  /** What the interfaces of new containers get. */
  readonly mtuBytes: number;
}

export type BridgeRepair =
  /** The plugin recreates it, with the address of the present subnet, for the next container. */
  { readonly type: "remove"; readonly address: Prefix } | { readonly type: "mtu"; readonly mtuBytes: number };

const MAX_NAMED = 5;

/** What can be done without a loss for any container. */
export function repairOfBridge(bridge: BridgeFacts, wish: BridgeWish): BridgeRepair | undefined {
  const outdated = outdatedAddress(bridge, wish);
  if (outdated !== undefined) return bridge.ports.length === 0 ? { type: "remove", address: outdated } : undefined;
  const { mtuBytes } = wish;
  // What a bridge sends to a port with less room is dropped without a word.
  const smallest = Math.min(...bridge.ports.map((port) => port.mtuBytes));
  if (bridge.mtuBytes === mtuBytes || (bridge.mtuBytes < mtuBytes && smallest < mtuBytes)) return undefined;
  return { type: "mtu", mtuBytes };
}

/** New containers are refused: the plugin does not change the address of a bridge. */
export function isOutdated(bridge: BridgeFacts, wish: BridgeWish): boolean {
  return outdatedAddress(bridge, wish) !== undefined;
}

/** An address of an earlier subnet, when the bridge has none of the present one; the check `bridge-address-stale` tells it. */
function outdatedAddress({ addresses }: BridgeFacts, { ownSubnets, earlierSubnets }: BridgeWish): Prefix | undefined {
  const isIn = (address: Prefix, subnets: readonly Prefix[]) =>
    subnets.some((subnet) => containsAddress(subnet, prefixAddress(address)));
  if (ownSubnets.length === 0 || addresses.some((address) => isIn(address, ownSubnets))) return undefined;
  return addresses.find((address) => isIn(address, earlierSubnets));
}

/** Containers keep the MTU that they were given. */
export function bridgeFindings({ name, ports }: BridgeFacts, { mtuBytes }: BridgeWish): Finding[] {
  const larger = ports.filter((port) => port.mtuBytes > mtuBytes);
  const smaller = ports.filter((port) => port.mtuBytes < mtuBytes);
  const remedy = "re-create these containers, so that they get the MTU of the network";
  const findings: Finding[] = [];
  if (larger.length > 0) {
    const evidence =
      `${interfaces(larger.length)} of the bridge ${name} (${namesOf(larger)}) have a larger MTU than the network, ` +
      `${largest(larger)} instead of ${mtuBytes} bytes: their large packets depend on path MTU discovery`;
    findings.push({ name: "pmtu-blackhole", severity: "warning", evidence, remedy });
  }
  if (smaller.length > 0) {
    const evidence =
      `${interfaces(smaller.length)} of the bridge ${name} (${namesOf(smaller)}) have a smaller MTU than the network's ` +
      `${mtuBytes} bytes: all containers of this host get small packets only`;
    findings.push({ name: "bridge-mtu", severity: "warning", evidence, remedy });
  }
  return findings;
}

function interfaces(number: number): string {
  return number === 1 ? "1 interface" : `${number} interfaces`;
}

function largest(ports: BridgeFacts["ports"]): number {
  return Math.max(...ports.map((port) => port.mtuBytes));
}

function namesOf(ports: readonly { readonly name: string }[]): string {
  const named = ports.slice(0, MAX_NAMED).map(({ name }) => name);
  return [...named, ...(ports.length > MAX_NAMED ? ["…"] : [])].join(" ");
}

/** Interfaces of containers that no runtime knows. */
export function leftoverFinding(bridge: string, names: readonly string[]): Finding {
  return {
    name: "container-leftover",
    severity: "warning",
    evidence:
      `${interfaces(names.length)} of the bridge ${bridge} (${namesOf(names.map((name) => ({ name })))}) belong to no ` +
      "container that a container runtime of this host knows",
    remedy: `look where their other ends are (ip netns list-id), then ip link del dev ${names[0] ?? "NAME"}`,
  };
}

/** host-local leaves out the network's address, the bridge's and the last one. */
const NOT_FOR_CONTAINERS = 3;
const SHORT_FROM = 0.9;

/** `sizeOfSubnet`: addresses, the unusable ones included. */
export function shortageFindings(subnet: Prefix, sizeOfSubnet: number, used: number, directory: string): Finding[] {
  const usable = sizeOfSubnet - NOT_FOR_CONTAINERS;
  if (usable <= 0 || used < usable * SHORT_FROM) return [];
  return [
    {
      name: "ipam-exhausted",
      severity: used >= usable ? "error" : "warning",
      evidence: `${used} of ${usable} addresses for containers in ${subnet} are reserved in ${directory}`,
      remedy:
        "flannelctl cni gc --dry-run shows those of containers that are gone; or run fewer containers here, or use larger subnets",
    },
  ];
}
