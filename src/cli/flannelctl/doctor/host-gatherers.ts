// How each fact about this host is gathered for `flannelctl doctor`. Read-only; each on its own, so that none waits for another.
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { plannedScan } from "../../../agent/lifecycle/check-context.ts";
import { PlannedWays } from "../../../agent/lifecycle/planned-ways.ts";
import { readReservations } from "../../../cni/reservations.ts";
import { type CheckContext, tunnelPortOf } from "../../../doctor/check.ts";
import { doubtOf } from "../../../doctor/checks/probes.ts";
import type { ContainerFacts } from "../../../doctor/container-facts.ts";
import type { Gatherers } from "../../../doctor/examine.ts";
import { whoHas } from "../../../doctor/gather/arp-probe.ts";
import { type EchoTarget, sendEchoes } from "../../../doctor/gather/echoes.ts";
import * as kernel from "../../../doctor/gather/kernel.ts";
import * as processes from "../../../doctor/gather/process.ts";
import { masqueradesOf, tooBigDropsOf } from "../../../doctor/gather/rule-texts.ts";
import { FactGatherer } from "../../../doctor/gather-facts.ts";
import type { agentFacts, FactName, HostFacts } from "../../../doctor/host-facts.ts";
import { scanContext } from "../../../doctor/scan-context.ts";
import { WayWatch } from "../../../doctor/way-watch.ts";
import type { ScanContext } from "../../../firewall/hook-packets.ts";
import { HookScanner } from "../../../firewall/hook-scanner.ts";
import { ruleNames } from "../../../firewall/rule-set.ts";
import { ruleSuffix } from "../../../firewall/rule-suffix.ts";
import { type Address, type Family, familyOf, prefixAddress } from "../../../ip/address.ts";
import { containsAddress } from "../../../ip/prefix.ts";
import { bridgesOf } from "../../../lease/cni-conflist.ts";
import type { Lease } from "../../../lease/lease.ts";
import { storeIdentity } from "../../../store/store-identity.ts";
import { readSmallFile } from "../../../sys/files.ts";
import { silentLogger } from "../../../telemetry/logger.ts";
import type { GlobalOptions } from "../session/invocation.ts";
import { isMeantLease } from "../session/meant-peer.ts";
import { storeOptions } from "../session/open-store.ts";
import { gatherFollowed } from "./followed-gatherer.ts";
import type { HostWide } from "./host-wide.ts";
import type { KnownHost } from "./known-host.ts";

const CNI_DIRECTORY = "/etc/cni/net.d";
const MAX_CNI_FILE_BYTES = 256 * 1_024;
const MAX_PEERS_ASKED = 2_000;

export interface GatherLimits {
  /** Of programs that are run. */
  readonly limitMs: number;
  /** That are sent echoes. */
  readonly maxPeers: number;
  /** As a person names it: that one first. */
  readonly peer?: string | undefined;
}

export function hostGatherers(
  known: KnownHost,
  host: HostWide,
  context: CheckContext,
  { limitMs, maxPeers, peer }: GatherLimits,
): Gatherers {
  const { options } = known;
  const scanner = new HookScanner(ruleNames(ruleSuffix(storeIdentity(storeOptions(options)).network)), {
    withNat: true,
  });
  const scan: ScanContext =
    known.plan === undefined ? scanContext(context) : plannedScan(context, known.plan, known.peers);
  const { networks } = context;
  const peers = publicAddresses(known.peers);
  const targets = echoTargets(known, context, peer).slice(0, maxPeers);
  return {
    ...sharedGatherers(known, context, () => scanner.drops(scan)),
    links: host.links,
    hostAddresses: host.hostAddresses,
    neighbours: () => kernel.readNeighbours(context.devices),
    underlayWays: () => kernel.readUnderlayWays(peers),
    counters: host.counters,
    tables: host.tables,
    neighbourUse: host.neighbourUse,
    lockHolder: host.lockHolder,
    masqueradeRules: async () => (await host.savedRules()).flatMap((rules) => masqueradesOf(rules, networks)),
    tooBigDrops: async () => (await host.savedRules()).flatMap(tooBigDropsOf),
    echoDrops: () => echoDrops(scanner, scan, context, known),
    disks: () => processes.readDisks(directoriesOf(options, known)),
    portHolder: () => portHolder(known, context),
    tunRefusal: processes.readTunRefusal,
    addressTwins: () => addressTwins(known, context),
    containers: () => readContainers(options, context, host),
    echoes: () => sendEchoes(targets, { ...echoSources(known, context), limitMs, maxPeers }),
    followedEchoes: () => gatherFollowed({ known, host, context, targets, scanner, scan, limitMs }),
  };
}

/** Facts that the agent gathers, too, by the same code. */
function sharedGatherers(
  known: KnownHost,
  context: CheckContext,
  findDrops: () => Promise<HostFacts["packetDrops"]>,
): Gatherers {
  const gatherOne = <F extends (typeof agentFacts)[number]>(fact: F) =>
    kernel.withNetlink(async (netlink): Promise<HostFacts[F]> => {
      const gatherer = new FactGatherer(
        netlink,
        findDrops,
        () => [],
        () => [],
      );
      return (await gatherer.gather(new Set<FactName>([fact]), context))[fact];
    });
  return {
    sysctls: () => gatherOne("sysctls"),
    routes: () => gatherOne("routes"),
    addresses: () => gatherOne("addresses"),
    bridges: () => gatherOne("bridges"),
    packetDrops: () => gatherOne("packetDrops"),
    // What the agent cannot read is in its status.
    unreadableRules: () => [],
    foreignUdpPorts: () => gatherOne("foreignUdpPorts"),
    policyRouting: () => gatherOne("policyRouting"),
    // All devices are there, or the agent's status says why not; else the kernel is asked.
    deviceRefusal: () => (hasOwnDevices(known, context) ? undefined : gatherOne("deviceRefusal")),
    missingIpsec: () => gatherOne("missingIpsec"),
    wayFindings: () => lookAtWays(known, context),
  };
}

function hasOwnDevices({ links }: KnownHost, { devices }: CheckContext): boolean {
  return devices.every((device) => links.some(({ name }) => name === device));
}

async function lookAtWays({ plan, peers }: KnownHost, context: CheckContext): Promise<HostFacts["wayFindings"]> {
  if (plan === undefined) return [];
  await using watch = WayWatch.open({
    ...{ networks: context.networks, ownDevices: () => context.devices, ownSubnets: () => context.ownSubnets },
    tunnelPort: () => tunnelPortOf(context),
    ...{ logger: silentLogger, onChange: () => undefined, peersAtOnce: MAX_PEERS_ASKED },
  });
  await watch.setWays(new PlannedWays().of(plan, peers, () => true, true));
  return watch.report.findings;
}

function publicAddresses(peers: readonly Lease[]): { readonly key: string; readonly address: Address }[] {
  return peers.flatMap(({ key, attributes: { publicIp, publicIpv6 } }) =>
    [publicIp, publicIpv6].flatMap((address) => (address === undefined ? [] : [{ key, address }])),
  );
}

async function echoDrops(
  scanner: HookScanner,
  scan: ScanContext,
  { externalInterface: { name, address } }: CheckContext,
  { peers }: KnownHost,
): Promise<HostFacts["echoDrops"]> {
  const peer = peers.find(({ attributes }) => attributes.publicIp !== undefined)?.attributes.publicIp;
  if (peer === undefined || address === undefined || familyOf(peer) !== familyOf(address)) return [];
  const packet = {
    source: peer,
    destination: address,
    incoming: name,
    outgoing: "",
    protocol: "icmp",
    way: "received",
  } as const;
  return (await scanner.dropsOf(packet, scan)).filter(({ isRewrite }) => !isRewrite);
}

function directoriesOf(options: GlobalOptions, { subnetFile, stateDirectory }: KnownHost) {
  const embedded = join(stateDirectory, "store");
  return [
    [dirname(subnetFile), "the subnet file"],
    [stateDirectory, "the remembered state"],
    ...(existsSync(embedded) ? [[embedded, "the embedded store"] as const] : []),
    ...(existsSync(options.paths.clusterDirectory)
      ? [[options.paths.clusterDirectory, "the store of the cluster"] as const]
      : []),
  ] as const;
}

function portHolder({ status }: KnownHost, { needs: { udpPort } }: CheckContext): string | undefined {
  if (udpPort === undefined) return undefined;
  return processes.readPortHolder(
    udpPort,
    new Set(["flanneld", "wireguard-go", "charon", String(status?.agent.pid ?? "")]),
  );
}

async function addressTwins(
  { links }: KnownHost,
  { externalInterface }: CheckContext,
): Promise<HostFacts["addressTwins"]> {
  const { index, address } = externalInterface;
  const mac = links.find((link) => link.index === index)?.mac;
  if (mac === undefined || address === undefined || familyOf(address) !== 4) return [];
  const own = new Set(links.flatMap((link) => link.mac ?? []));
  return (await whoHas({ address, device: { index, mac }, own })).map((twin) => ({ address, mac: twin }));
}

async function readContainers(options: GlobalOptions, context: CheckContext, host: HostWide): Promise<ContainerFacts> {
  const [bridgePorts, namespaces, neighbours, links, addresses] = await Promise.all([
    host.bridgePorts(),
    host.namespaces(),
    kernel.readNeighbours(context.devices),
    host.links(),
    host.hostAddresses(),
  ]);
  const isOwn = (address: Address) => context.ownSubnets.some((subnet) => containsAddress(subnet, address));
  const withContainers = neighbours.filter(({ address }) => isOwn(address)).map(({ device }) => device);
  const files = cniFiles();
  const attached = new Set(
    bridgePorts
      .filter(({ index }) =>
        namespaces.some(({ interfaces }) =>
          interfaces.some(
            (each) => each.peerIndex === index && each.addresses.some((one) => isOwn(prefixAddress(one))),
          ),
        ),
      )
      .map(({ bridge }) => bridge),
  );
  const docker = links.find(({ name, kind }) => name === "docker0" && kind === "bridge");
  const bip = docker === undefined ? undefined : processes.readDockerBip();
  return {
    bridgePorts,
    namespaces,
    reservations: readReservationsIn(options.cniStateDirectory),
    bridgeNames: [...new Set(["cni0", ...attached, ...withContainers, ...files.flatMap(({ bridges }) => bridges)])],
    cniFiles: files,
    ...(docker !== undefined && {
      docker: {
        addresses: addresses.filter(({ device }) => device === "docker0").map(({ address }) => address),
        attached: links.filter(({ masterIndex }) => masterIndex === docker.index).length,
        ...(bip !== undefined && { bip }),
      },
    }),
  };
}

function cniFiles(): { readonly name: string; readonly isFlannels: boolean; readonly bridges: readonly string[] }[] {
  return listOf(CNI_DIRECTORY)
    .filter((name) => /\.(conf|conflist|json)$/.test(name))
    .toSorted()
    .flatMap((name) => {
      try {
        const text = readSmallFile(join(CNI_DIRECTORY, name), MAX_CNI_FILE_BYTES);
        return [
          {
            name,
            isFlannels: /"type"\s*:\s*"flannel"|"name"\s*:\s*"(cbr0|flannel)"/.test(text),
            bridges: bridgesOf(text),
          },
        ];
      } catch {
        return [];
      }
    });
}

function readReservationsIn(stateDirectory: string): ContainerFacts["reservations"] {
  const networks = join(stateDirectory, "networks");
  return listOf(networks).map((name) => {
    const directory = join(networks, name);
    return { directory, addresses: readReservations(directory).map(({ address }) => address) };
  });
}

function listOf(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Peers whose state is of interest first: those that the agent's probes have no good word for. */
function echoTargets({ plan, peers, status }: KnownHost, context: CheckContext, meant?: string): EchoTarget[] {
  if (plan === undefined) return [];
  const meantKey = meant === undefined ? undefined : peers.find((peer) => isMeantLease(peer, meant))?.key;
  const paths = status?.networks[0]?.probes?.paths ?? [];
  const repaired = new Map(paths.map(({ subnet, routeMtuBytes }) => [subnet, routeMtuBytes]));
  const doubts = new Map(paths.map(({ subnet, state }) => [subnet, doubtOf(state)]));
  const doubt = (subnet: string) => doubts.get(subnet) ?? doubtOf(undefined);
  const { externalInterface, overlayMtuBytes, devices } = context;
  return new PlannedWays()
    .of(plan, peers, () => true, true)
    .flatMap(({ peer, subnet, gateway, publicIp }) => {
      const address = gateway ?? publicIp;
      if (address === undefined) return [];
      const isDirect = gateway !== undefined;
      // No larger packet leaves for a peer whose route says less.
      const innerBytes = repaired.get(subnet) ?? overlayMtuBytes;
      const whole = isDirect || devices.length === 0 ? overlayMtuBytes : externalInterface.mtuBytes;
      const outerBytes = whole - (overlayMtuBytes - innerBytes);
      return [{ peer, subnet, address, isDirect, innerBytes, outerBytes }];
    })
    .toSorted((a, b) => Number(b.peer === meantKey) - Number(a.peer === meantKey) || doubt(a.subnet) - doubt(b.subnet));
}

function echoSources({ addresses }: KnownHost, { ownSubnets, devices, externalInterface }: CheckContext) {
  const bridges: Partial<Record<Family, Address>> = {};
  for (const { address, device } of addresses) {
    const own = prefixAddress(address);
    if (devices.includes(device) || !ownSubnets.some((subnet) => containsAddress(subnet, own))) continue;
    bridges[familyOf(address)] ??= own;
  }
  const { address, ipv6Address } = externalInterface;
  return {
    bridges,
    hosts: { ...(address !== undefined && { 4: address }), ...(ipv6Address !== undefined && { 6: ipv6Address }) },
  };
}
