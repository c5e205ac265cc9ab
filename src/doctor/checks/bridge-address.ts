// Whether the bridge of the containers has an address of this host's subnet: other hosts send those of an earlier one elsewhere now.
import { type Prefix, prefixAddress } from "../../ip/address.ts";
import { containsAddress } from "../../ip/prefix.ts";
import { defineCheck } from "../check.ts";

const remedy =
  "so that they get addresses of the new subnet (Docker: restart it with the new subnet file); then ip link del dev";

export const outdatedBridge = defineCheck({
  name: "bridge-address-stale",
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
    `re-create the containers on ${name}, ${remedy} ${name}, unless the container runtime has changed its address`,
});

/** A bridge that containers of the network are attached to, by CNI's configuration or by their addresses. */
export const bridgeWithoutAddress = defineCheck({
  name: "bridge-address-stale",
  severity: "error",
  needs: ["bridges", "containers"],
  check: ({ ownSubnets, earlierSubnets }, { bridges, containers }) => {
    if (ownSubnets.length === 0) return [];
    return bridges.filter(({ name, addresses, attached }) => {
      if (attached === 0 || !containers.bridgeNames.includes(name)) return false;
      return !addresses.some((address) => isIn(address, [...ownSubnets, ...earlierSubnets]));
    });
  },
  evidence: ({ name, addresses, attached }, { ownSubnets }) =>
    `the bridge ${name} of this host's containers, with ${attached} attached ${attached === 1 ? "interface" : "interfaces"}, has ` +
    `${addresses.length === 0 ? "no address" : `the address ${addresses.join(", ")}`}, none of this host's subnet ${ownSubnets.join(" and ")}`,
  remedy: ({ name }) => `re-create the containers on ${name}, ${remedy} ${name}`,
});

function isIn(address: Prefix, subnets: readonly Prefix[]): boolean {
  return subnets.some((subnet) => containsAddress(subnet, prefixAddress(address)));
}
