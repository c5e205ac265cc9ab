// Which addresses stand for the peers of a plan: what the prober gets. Pure.
import type { BackendRegistry } from "../../backend/registry.ts";
import type { PlannedWay } from "../../doctor/peer-ways.ts";
import { addressBits, familyOf, prefixAddress, prefixLength } from "../../ip/address.ts";
import { addToAddress } from "../../ip/prefix.ts";
import type { ProbePath } from "../../probe/probe-path.ts";
import { echoPacketBytes } from "../../sys/echo-request.ts";
import type { NetworkContext } from "./check-context.ts";

/** Nothing in a subnet so small can answer for its host. */
const LEAST_HOST_BITS = 2;

/** A way that did not change keeps its path: of thousands of peers few change at once. */
export class ProbePaths {
  readonly #backends: BackendRegistry;
  #known = new WeakMap<PlannedWay, ProbePath | "none">();
  #knownFor = "";

  constructor(backends: BackendRegistry) {
    this.#backends = backends;
  }

  of(ways: readonly PlannedWay[], context: NetworkContext): ProbePath[] {
    const { backendType, ownSubnets, externalInterface } = context;
    const mtus = ownSubnets.map((subnet) => context.mtuBytes(familyOf(subnet)));
    const { mtuBytes, address, ipv6Address } = externalInterface;
    const facts = JSON.stringify([backendType, ownSubnets, mtuBytes, address, ipv6Address, mtus]);
    if (facts !== this.#knownFor) this.#known = new WeakMap();
    this.#knownFor = facts;
    const paths: ProbePath[] = [];
    for (const way of ways) {
      const path = this.#known.get(way) ?? pathOf(way, context, this.#backends) ?? "none";
      this.#known.set(way, path);
      if (path !== "none") paths.push(path);
    }
    return paths;
  }
}

function pathOf(way: PlannedWay, context: NetworkContext, backends: BackendRegistry): ProbePath | undefined {
  const { peer, subnet, publicIp, backendType = context.backendType } = way;
  const { ownSubnets, externalInterface } = context;
  const family = familyOf(subnet);
  const ownSubnet = ownSubnets.find((own) => familyOf(own) === family);
  if (ownSubnet === undefined || addressBits(family) - prefixLength(subnet) < LEAST_HOST_BITS) return undefined;
  // Without an address of its own in the peer's family this host reaches no peer there, which has a finding of its own.
  const own =
    publicIp !== undefined && familyOf(publicIp) === 6 ? externalInterface.ipv6Address : externalInterface.address;
  if (publicIp !== undefined && own === undefined) return undefined;
  const hasTunnelAddress = backends.find(backendType)?.hasTunnelAddress === true;
  // No link between hosts carries more than a probe can have.
  const { most } = echoPacketBytes(family);
  return {
    peer,
    subnet,
    family,
    ...(publicIp !== undefined && { underlay: publicIp }),
    ...(hasTunnelAddress && { tunnel: prefixAddress(subnet) }),
    bridge: addToAddress(prefixAddress(subnet), 1n),
    ownSubnet,
    ownBridge: addToAddress(prefixAddress(ownSubnet), 1n),
    underlayMtuBytes: Math.min(externalInterface.mtuBytes, most),
    overlayMtuBytes: Math.min(context.mtuBytes(family), most),
  };
}
