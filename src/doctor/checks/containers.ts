// Containers of this host: their interfaces, routes, addresses and MTU, and how CNI and Docker are configured.
import { type Prefix, prefixAddress, prefixLength, tryParsePrefix } from "../../ip/address.ts";
import { containsAddress, containsPrefix, networkOf, prefixSize } from "../../ip/prefix.ts";
import type { CheckContext } from "../check.ts";
import { defineCheck } from "../check.ts";
import type { ContainerFacts, ContainerNamespace } from "../container-facts.ts";
import { type FixStep, runIp } from "../fix-step.ts";

/** host-local leaves out the network's address, the bridge's and the last one. */
const NOT_FOR_CONTAINERS = 3;
const SHORT_FROM = 0.9;
/** BR_STATE_FORWARDING; BR_STATE_DISABLED is that of a port without carrier. */
const [BR_DISABLED, BR_FORWARDING] = [0, 3];
const MAX_NAMED = 5;

function isOwn(address: Prefix, { ownSubnets }: CheckContext): boolean {
  return ownSubnets.some((subnet) => containsAddress(subnet, prefixAddress(address)));
}

function namesOf(names: readonly string[]): string {
  return `${names.slice(0, MAX_NAMED).join(" ")}${names.length > MAX_NAMED ? " …" : ""}`;
}

/** Those with an interface that has an address of this host's subnet. */
function containersOf(context: CheckContext, { namespaces }: ContainerFacts) {
  return namespaces.flatMap((namespace) =>
    namespace.interfaces.flatMap((device) => {
      const address = device.addresses.find((each) => isOwn(each, context));
      return address === undefined ? [] : [{ namespace, device, address }];
    }),
  );
}

export const subnetFile = defineCheck({
  name: "subnet-env-missing",
  severity: "error",
  needs: ["agent"],
  appliesTo: ({ ownSubnets }) => ownSubnets.length > 0,
  check: ({ ownSubnets }, { agent: { subnetFile: file } }) => {
    if (file.isThere === undefined) return [];
    const { path } = file;
    if (!file.isThere) return [{ path, wrong: undefined as string | undefined }];
    const subnets = (file.subnets ?? []).map(networkOf);
    const isSame = subnets.length > 0 && subnets.every((subnet) => ownSubnets.includes(subnet));
    return isSame ? [] : [{ path, wrong: subnets.join(" and ") || "no subnet" }];
  },
  evidence: ({ path, wrong }, { ownSubnets }) =>
    wrong === undefined
      ? `there is no ${path}: Docker and CNI plugins do not know the subnet ${ownSubnets.join(" and ")}`
      : `${path} has ${wrong}, but the lease is ${ownSubnets.join(" and ")}`,
  remedy: () => "systemctl restart flanneld # the running agent writes the file again by itself",
});

export const dockerBridge = defineCheck({
  name: "docker-bip-mismatch",
  severity: "error",
  needs: ["containers", "addresses"],
  appliesTo: ({ ownSubnets }) => ownSubnets.length > 0,
  check: (context, { containers: { docker, cniFiles, namespaces }, addresses }) => {
    if (docker === undefined || docker.attached === 0 || docker.addresses.some((each) => isOwn(each, context)))
      return [];
    const isMeant = isInNetworks(docker.bip, context) || docker.addresses.some((each) => isInNetworks(each, context));
    const isElseUsed =
      cniFiles.length > 0 ||
      addresses.some(({ address }) => isOwn(address, context)) ||
      namespaces.some(({ interfaces }) => interfaces.some((one) => one.addresses.some((each) => isOwn(each, context))));
    return isMeant || !isElseUsed ? [docker] : [];
  },
  evidence: ({ addresses, attached, bip }, { ownSubnets }) =>
    `docker0 with ${attached} attached ${attached === 1 ? "interface" : "interfaces"} has ${addresses.join(", ") || "no address"}` +
    `${bip === undefined ? "" : `, Docker uses ${bip}`}; this host's subnet is ${ownSubnets.join(" and ")}, and nothing uses it`,
  remedy: () => "mk-docker-opts -c, then restart Docker with its options; start it after flannelctl wait",
});

function isInNetworks(text: string | undefined, { networks }: CheckContext): boolean {
  const prefix = text === undefined ? undefined : tryParsePrefix(text);
  return prefix !== undefined && networks.some((network) => containsAddress(network, prefixAddress(prefix)));
}

export const detachedPort = defineCheck({
  name: "port-detached",
  severity: "error",
  needs: ["containers", "links", "bridges"],
  appliesTo: ({ ownSubnets }) => ownSubnets.length > 0,
  check: (context, { containers, links, bridges }) => {
    const bridge = bridges.find(({ addresses }) => addresses.some((each) => isOwn(each, context)))?.name;
    if (bridge === undefined) return [];
    if (links.some(({ name, isUp }) => name === bridge && !isUp)) {
      const up = `link set dev ${bridge} up`;
      return [
        { what: `the bridge ${bridge} is down`, remedy: `ip ${up}`, fix: [runIp(up, `link set dev ${bridge} down`)] },
      ];
    }
    const found = containersOf(context, containers).flatMap(({ namespace, device }) => {
      const link = links.find(({ index }) => index === device.peerIndex);
      if (link === undefined) return [];
      const whose = `${link.name}, the interface of ${namespace.name}`;
      const port = containers.bridgePorts.find(({ index }) => index === link.index);
      if (link.masterIndex === undefined) {
        const attach = `link set dev ${link.name} master ${bridge}`;
        const fix = [runIp(attach, `link set dev ${link.name} nomaster`)];
        return [{ what: `${whose}, is not attached to ${bridge}`, remedy: `ip ${attach}`, fix }];
      }
      if (!device.isUp) {
        return [
          {
            what: `${device.name} in ${namespace.name} is down`,
            remedy: `re-create the container of ${namespace.name}`,
            fix: [],
          },
        ];
      }
      const { state = BR_FORWARDING } = port ?? {};
      if (state === BR_FORWARDING || (state === BR_DISABLED && !link.isRunning)) return [];
      const what = `the bridge ${bridge} does not forward from ${whose} (state ${state} of its spanning tree)`;
      return [{ what, ...withoutSpanningTree(bridge) }];
    });
    const isReported = (index: number) => found.length > 0 && index > 0;
    return [...found, ...deadPorts(containers, bridge).filter(({ index }) => !isReported(index))];
  },
  evidence: ({ what }) => what,
  remedy: ({ remedy }) => remedy,
  fix: ({ fix }) => fix,
});

/** What can be known without a look into the container. */
function deadPorts({ bridgePorts }: ContainerFacts, bridge: string) {
  return bridgePorts
    .filter((port) => port.bridge === bridge && port.isUp)
    .flatMap(({ name, index, hasCarrier, state = BR_FORWARDING }) => {
      if (!hasCarrier) {
        const what = `${name} on the bridge ${bridge} has no carrier: the interface at its other end is down`;
        return [{ index, what, remedy: `re-create the container behind ${name}`, fix: [] }];
      }
      if (state === BR_FORWARDING || state === BR_DISABLED) return [];
      const what = `the bridge ${bridge} does not forward from ${name} (state ${state} of its spanning tree)`;
      return [{ index, what, ...withoutSpanningTree(bridge) }];
    });
}

function withoutSpanningTree(bridge: string): { readonly remedy: string; readonly fix: readonly FixStep[] } {
  const set = (state: 0 | 1) => `link set dev ${bridge} type bridge stp_state ${state}`;
  return { remedy: `ip ${set(0)}`, fix: [runIp(set(0), set(1))] };
}

export const containerRoute = defineCheck({
  name: "container-route",
  severity: "error",
  needs: ["containers"],
  appliesTo: ({ ownSubnets, networks }) => ownSubnets.length > 0 && networks.length > 0,
  check: (context, { containers }) =>
    containersOf(context, containers).flatMap(({ namespace, device, address }) => {
      if (!device.isUp) return [];
      const network = context.networks.find((each) => containsAddress(each, prefixAddress(address)));
      if (network === undefined) return [];
      const own = context.ownSubnets.find((subnet) => containsAddress(subnet, prefixAddress(address)));
      const isTooWide = own !== undefined && prefixLength(address) < prefixLength(own);
      const whose = { namespace, address, own };
      if (isTooWide)
        return [{ ...whose, why: `has ${address}: it asks on its own link for containers of other hosts` }];
      return leadsToNetwork(namespace, network) ? [] : [{ ...whose, why: `has no route to ${network}` }];
    }),
  evidence: ({ namespace, why }) => `the container of ${namespace.name} ${why}`,
  remedy: ({ namespace }) => `re-create the container of ${namespace.name}`,
});

/** Several routes may share it, such as the two halves of everything; then nothing is said. */
function leadsToNetwork({ routes }: ContainerNamespace, network: Prefix): boolean {
  const others = routes.filter(
    ({ destination, gateway }) => gateway !== undefined || !containsPrefix(network, destination),
  );
  return others.some(
    ({ destination }) =>
      containsPrefix(destination, network) || (containsPrefix(network, destination) && destination !== network),
  );
}

export const addressShortage = defineCheck({
  name: "ipam-exhausted",
  needs: ["containers"],
  check: ({ ownSubnets }, { containers: { reservations } }) =>
    ownSubnets.flatMap((subnet) => {
      const size = prefixSize(subnet);
      if (size > 1n << 16n) return [];
      const usable = Number(size) - NOT_FOR_CONTAINERS;
      return reservations.flatMap(({ directory, addresses }) => {
        const used = addresses.filter((address) => containsAddress(subnet, address)).length;
        return usable > 0 && used >= usable * SHORT_FROM ? [{ subnet, directory, used, usable }] : [];
      });
    }),
  severity: ({ used, usable }) => (used >= usable ? "error" : "warning"),
  evidence: ({ subnet, directory, used, usable }) =>
    `${used} of ${usable} addresses for containers in ${subnet} are reserved in ${directory}`,
  remedy: () =>
    "flannelctl cni gc --dry-run shows those of containers that are gone; or run fewer containers here, or use larger subnets",
});

export const largeContainerMtu = defineCheck({
  name: "pmtu-blackhole",
  needs: ["containers", "bridges", "tooBigDrops"],
  check: (context, { containers: { bridgePorts }, bridges, tooBigDrops: drops }) => {
    const own = bridges.filter(({ addresses }) => addresses.some((each) => isOwn(each, context)));
    const large = bridgePorts.filter(
      ({ bridge, mtuBytes }) => own.some(({ name }) => name === bridge) && mtuBytes > context.overlayMtuBytes,
    );
    return large.length === 0 ? [] : [{ large, drops }];
  },
  severity: ({ drops }) => (drops.length > 0 ? "error" : "warning"),
  evidence: ({ large, drops }, { overlayMtuBytes }) =>
    `${large.length === 1 ? "1 interface" : `${large.length} interfaces`} of the bridge ${large[0]?.bridge} (${namesOf(large.map(({ name }) => name))}) ` +
    `have a larger MTU than the network, ${Math.max(...large.map(({ mtuBytes }) => mtuBytes))} instead of ${overlayMtuBytes} bytes: ` +
    (drops[0] === undefined
      ? "their large packets depend on path MTU discovery"
      : `their large packets depend on an ICMP message that this host drops (${drops[0]})`),
  remedy: (_, { devices }) =>
    `re-create these containers, so that they get the MTU of the network; until then: iptables -t mangle -A FORWARD -o ${devices[0] ?? "DEVICE"} -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu`,
});

export const cniConfig = defineCheck({
  name: "cni-config",
  severity: "warning",
  needs: ["containers"],
  check: (_context, { containers: { cniFiles } }) => {
    const [first] = cniFiles;
    const flannels = cniFiles.find(({ isFlannels }) => isFlannels);
    return first === undefined || flannels === undefined || first.isFlannels ? [] : [{ first, flannels }];
  },
  evidence: ({ first, flannels }) =>
    `/etc/cni/net.d/${first.name} comes before flannel's ${flannels.name}: container runtimes take the first file`,
  remedy: ({ first }) =>
    `mv /etc/cni/net.d/${first.name} /root/ # if that network plugin is gone; then re-create the pods of this host`,
});
