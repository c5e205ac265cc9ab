// Whether this host already uses addresses of the containers' network for something else.
import { type Prefix, prefixAddress } from "../../ip/address.ts";
import { containsPrefix, networkOf, overlaps } from "../../ip/prefix.ts";
import { type CheckContext, defineCheck } from "../check.ts";
import type { HostFacts } from "../host-facts.ts";

type Facts = Pick<HostFacts, "routes" | "addresses">;

export const networkOverlap = defineCheck({
  name: "network-overlap",
  severity: "warning",
  needs: ["routes", "addresses"],
  check: (context, facts) => {
    const clashes = new Set(context.networks.flatMap((network) => clashesOf(network, context, facts)));
    return clashes.size === 0 ? [] : [[...clashes]];
  },
  evidence: (clashes) =>
    `the network of the containers overlaps addresses or routes of this host: ${clashes.join("; ")}`,
  remedy: () => "flannelctl config set # with a Network that is free on all hosts",
});

function clashesOf(network: Prefix, { ownSubnets }: CheckContext, { routes, addresses }: Facts): string[] {
  const isElsewhere = (prefix: Prefix): boolean =>
    overlaps(network, prefix) && !ownSubnets.some((subnet) => containsPrefix(subnet, networkOf(prefix)));
  const used = addresses.filter(({ address }) => isElsewhere(address));
  const routed = routes.filter(({ destination, device, hasGateway }) => {
    if (prefixAddress(destination) === "0.0.0.0" || prefixAddress(destination) === "::") return false;
    // A route by gateway inside the network leads to a peer: another agent's, or one of upstream's that we adopt.
    if (hasGateway && containsPrefix(network, destination)) return false;
    const isConnected = addresses.some((found) => networkOf(found.address) === destination && found.device === device);
    return !isConnected && isElsewhere(destination);
  });
  return [
    ...used.map(({ address, device }) => `${network} with ${address} of ${device}`),
    ...routed.map(({ destination, device }) => `${network} with the route ${destination} dev ${device}`),
  ];
}
