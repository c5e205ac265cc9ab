// Whether a bridge on this host still has addresses of an earlier subnet: other hosts send those elsewhere now.
import { type Prefix, prefixAddress } from "../../ip/address.ts";
import { containsAddress } from "../../ip/prefix.ts";
import { defineCheck } from "../check.ts";

export const outdatedBridge = defineCheck({
  name: "outdated-bridge",
  severity: "error",
  needs: ["bridges"],
  check: ({ earlierSubnets, ownSubnets }, { bridges }) =>
    bridges.flatMap(({ name, addresses, attached }) =>
      addresses.flatMap((address) => {
        if (isIn(address, ownSubnets)) return [];
        const earlier = earlierSubnets.find((subnet) => containsAddress(subnet, prefixAddress(address)));
        return earlier === undefined ? [] : [{ name, address, earlier, attached }];
      }),
    ),
  evidence: ({ name, address, earlier, attached }, { ownSubnets }) =>
    `containers must be re-created: the bridge ${name} with ${attached} attached ${attached === 1 ? "interface" : "interfaces"} ` +
    `has the address ${address} of an earlier subnet of this host (${earlier}); the subnet is ${ownSubnets.join(" and ")} now`,
  remedy: ({ name }) =>
    `re-create the containers on ${name}, so that they get addresses of the new subnet (Docker: restart it with the new ` +
    `subnet file); then ip link del dev ${name}, unless the container runtime has changed its address`,
});

function isIn(address: Prefix, subnets: readonly Prefix[]): boolean {
  return subnets.some((subnet) => containsAddress(subnet, prefixAddress(address)));
}
