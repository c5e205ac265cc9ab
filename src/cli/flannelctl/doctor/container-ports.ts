// Which interface of this host belongs to which container, and by which bridge: for echoes that start or end in a container. Pure.
import type { CheckContext } from "../../../doctor/check.ts";
import type { ContainerFacts } from "../../../doctor/container-facts.ts";
import { type Address, familyOf, prefixAddress } from "../../../ip/address.ts";
import { containsAddress } from "../../../ip/prefix.ts";
import type { LinkMessage } from "../../../netlink/rtnetlink/messages.ts";

export interface ContainerPort {
  /** For people. */
  readonly label: string;
  readonly namespacePath: string;
  readonly address: Address;
  /** Of this host: the other end of the container's interface. */
  readonly device: string;
  /** Missing: it is attached to none. */
  readonly bridge?: string;
}

/** Of the containers that have an address of this host's subnet, and whose interface is up at both ends. */
export function containerPorts(
  { ownSubnets }: CheckContext,
  { namespaces }: Pick<ContainerFacts, "namespaces">,
  links: readonly LinkMessage[],
): ContainerPort[] {
  const byIndex = new Map(links.map((link) => [link.index, link]));
  return namespaces.flatMap(({ name, path, interfaces }) =>
    interfaces.flatMap(({ addresses, isUp, peerIndex }) => {
      const own = addresses
        .map(prefixAddress)
        .find((address) => familyOf(address) === 4 && ownSubnets.some((subnet) => containsAddress(subnet, address)));
      const link = byIndex.get(peerIndex ?? 0);
      if (own === undefined || link === undefined || !isUp || !link.isUp) return [];
      const bridge = byIndex.get(link.masterIndex ?? 0);
      return [
        {
          ...{ label: `the container of ${name} (${own})`, namespacePath: path, address: own, device: link.name },
          ...(bridge !== undefined && { bridge: bridge.name }),
        },
      ];
    }),
  );
}
