// The link between this host and each container: what is pinned of it, and how large packets over it may be.
import { type Address, prefixAddress } from "../../ip/address.ts";
import { containsAddress } from "../../ip/prefix.ts";
import { type CheckContext, defineCheck } from "../check.ts";
import type { ContainerFacts } from "../container-facts.ts";
import { runIp } from "../fix-step.ts";

/** NUD_PERMANENT */
const PERMANENT = 0x80;

/** With an address of this host's subnet. */
function linksOf({ ownSubnets }: CheckContext, { namespaces }: ContainerFacts) {
  return namespaces.flatMap(({ name, interfaces }) =>
    interfaces.flatMap((device) => {
      const addresses = device.addresses.map(prefixAddress).filter((address) => isIn(address, ownSubnets));
      return addresses.length === 0 ? [] : [{ name, device, addresses }];
    }),
  );
}

function isIn(address: Address, subnets: CheckContext["ownSubnets"]): boolean {
  return subnets.some((subnet) => containsAddress(subnet, address));
}

export const containerPinned = defineCheck({
  name: "neighbour-wrong",
  severity: "error",
  needs: ["containers", "neighbours"],
  appliesTo: ({ ownSubnets }) => ownSubnets.length > 0,
  check: (context, { containers, neighbours }) =>
    linksOf(context, containers).flatMap(({ name, device, addresses }) =>
      neighbours
        .filter(({ address, state }) => (state & PERMANENT) !== 0 && addresses.includes(address))
        .filter(({ mac }) => device.mac !== undefined && mac !== device.mac)
        .map((pinned) => ({ name, pinned, mac: device.mac })),
    ),
  evidence: ({ name, pinned, mac }) =>
    `a static neighbour entry pins ${pinned.address}, the container of ${name}, to ${pinned.mac ?? "nothing"} on ${pinned.device}, but its interface has ${mac}`,
  remedy: ({ pinned }) => `ip neigh del ${pinned.address} dev ${pinned.device}`,
  fix: ({ pinned: { address, device, mac } }) => [
    runIp(
      `neigh del ${address} dev ${device}`,
      mac === undefined ? undefined : `neigh replace ${address} lladdr ${mac} nud permanent dev ${device}`,
    ),
  ],
});

/** A bridge drops what is larger than the port's MTU without a word, unless its own is as small. */
export const smallPort = defineCheck({
  name: "bridge-mtu",
  needs: ["containers", "links"],
  appliesTo: ({ ownSubnets }) => ownSubnets.length > 0,
  check: (context, { containers, links }) =>
    linksOf(context, containers).flatMap(({ name, device }) => {
      const port = links.find(({ index }) => index === device.peerIndex);
      if (port === undefined || port.mtuBytes >= Math.min(device.mtuBytes, context.overlayMtuBytes)) return [];
      const bridge = links.find(({ index }) => index === port.masterIndex);
      return [{ name, port, device, isSilent: bridge !== undefined && bridge.mtuBytes > port.mtuBytes }];
    }),
  severity: ({ isSilent }) => (isSilent ? "error" : "warning"),
  evidence: ({ name, port, device, isSilent }) =>
    `${port.name}, this host's end of the interface of ${name}, has the MTU ${port.mtuBytes}, and the container's end ${device.mtuBytes}: ` +
    (isSilent ? "the bridge drops larger packets for it without a word" : "it gets small packets only"),
  remedy: ({ port, device }) => `ip link set dev ${port.name} mtu ${device.mtuBytes}`,
});
