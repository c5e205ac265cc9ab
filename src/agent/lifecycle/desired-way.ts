// Which way packets for one address are to take, by the plan: for `flannelctl trace`, which compares it with the kernel. Pure.
import type { Backend, BackendPlan } from "../../backend/backend.ts";
import type { CheckContext } from "../../doctor/check.ts";
import type { HostState } from "../../host/kinds/host-state.ts";
import { type HostRoute, routeLine } from "../../host/kinds/route-form.ts";
import { type Address, type Family, familyOf, prefixLength } from "../../ip/address.ts";
import { containsAddress } from "../../ip/prefix.ts";
import { type Lease, prefixesOf } from "../../lease/lease.ts";
import type { DesiredWay } from "../control/trace-protocol.ts";
import { describeLease } from "./network-status.ts";

export interface WayFacts {
  readonly name: string;
  /** Missing while this host has none. */
  readonly own?: Lease;
  readonly peers: readonly Lease[];
  readonly plan: BackendPlan;
  readonly backend: Pick<Backend, "type">;
  readonly context: CheckContext;
  mtuBytes(family: Family): number;
}

type Outside = NonNullable<DesiredWay["outside"]>;
type CarriedBy = NonNullable<DesiredWay["carriedBy"]>;

/** `address`: whose packets are asked about, of a container mostly. */
export function desiredWay(facts: WayFacts, address: Address): DesiredWay {
  const { name, own, peers, plan, context, backend } = facts;
  const leases = own === undefined ? peers : [own, ...peers];
  const { lease, isHost } = leaseOf(leases, address, own);
  const isOwn = lease !== undefined && lease === own;
  const { externalInterface } = context;
  const ownPort = context.needs.kernelDevice?.udpPort ?? context.needs.udpPort;
  const skipped = lease === undefined ? undefined : plan.skipped.find(({ key }) => key === lease.key);
  return {
    ...{ name, place: placeOf(context, address, { lease, isOwn, isHost }), knownLeases: leases.length },
    networks: [...context.networks],
    ownSubnets: [...context.ownSubnets],
    ownDevices: [...context.devices],
    externalInterface: {
      name: externalInterface.name,
      mtuBytes: externalInterface.mtuBytes,
      ...(externalInterface.address !== undefined && { address: externalInterface.address }),
      ...(externalInterface.ipv6Address !== undefined && { ipv6Address: externalInterface.ipv6Address }),
    },
    backendType: backend.type,
    ...(ownPort !== undefined && { ownUdpPort: ownPort }),
    ...(lease !== undefined && {
      lease: { ...describeLease(lease, undefined), isOwn, revision: String(lease.revision) },
    }),
    ...(skipped !== undefined && { skippedReason: skipped.reason }),
    ...(lease !== undefined && !isOwn && skipped === undefined && !isHost && partsOf(facts, lease, address)),
    ...(lease !== undefined && isHost && { outside: { address } }),
  };
}

function leaseOf(leases: readonly Lease[], address: Address, own: Lease | undefined) {
  const lease = leases
    .filter((one) => prefixesOf(one).some((prefix) => containsAddress(prefix, address)))
    .sort((a, b) => longest(b, address) - longest(a, address))[0];
  if (lease !== undefined) return { lease, isHost: false };
  const host = leases.find(
    (one) => one !== own && [one.attributes.publicIp, one.attributes.publicIpv6].includes(address),
  );
  return { lease: host, isHost: host !== undefined };
}

function longest(lease: Lease, address: Address): number {
  return Math.max(
    ...prefixesOf(lease)
      .filter((prefix) => containsAddress(prefix, address))
      .map(prefixLength),
  );
}

function placeOf(
  { networks }: CheckContext,
  address: Address,
  of: { readonly lease: Lease | undefined; readonly isOwn: boolean; readonly isHost: boolean },
): DesiredWay["place"] {
  if (of.isHost) return "host";
  if (of.lease !== undefined) return of.isOwn ? "here" : "peer";
  return networks.some((network) => containsAddress(network, address)) ? "nobody" : "outside";
}

function partsOf({ plan, backend, context, mtuBytes }: WayFacts, lease: Lease, address: Address): Partial<DesiredWay> {
  const { state } = plan;
  const family = familyOf(address);
  const route = routeTo(state, address);
  const host = hostOf(lease, family);
  if (route === undefined) {
    return {
      carriedBy: backend.type === "ipsec" ? "ipsec" : "other",
      ...(host !== undefined && { outside: { address: host, ...(backend.type === "ipsec" && { protocol: "esp" }) } }),
    };
  }
  const link = state.link?.find(({ name }) => name === route.device);
  const neighbour = state.neighbour?.find((one) => one.device === route.device && one.address === route.gateway);
  const fdb = state.fdb?.find((one) => one.device === route.device && one.mac === neighbour?.mac);
  const peer = state.wireguardPeer?.find(
    (one) => one.device === route.device && one.allowedIps.some((prefix) => containsAddress(prefix, address)),
  );
  const carriedBy = carrierOf(link?.kind, backend.type, route);
  const outside = outsideOf(carriedBy, {
    gateway: route.gateway,
    host,
    port: link?.kind === "vxlan" ? (link.port === 0 ? context.needs.kernelDevice?.udpPort : link.port) : undefined,
    udpPort: context.needs.udpPort,
    endpoint: peer?.endpoint,
    vtep: fdb?.destination,
  });
  return {
    carriedBy,
    mtuBytes: route.mtuBytes ?? (carriedBy === "direct" ? context.externalInterface.mtuBytes : mtuBytes(family)),
    route: shownRoute(route, context),
    ...(neighbour !== undefined && { neighbour }),
    ...(fdb !== undefined && { fdb }),
    ...(peer !== undefined && { wireguardPeer: shownPeer(peer) }),
    ...(outside !== undefined && { outside }),
  };
}

/** By which address the host is reached: of the packets' own family where it has one. */
function hostOf({ attributes: { publicIp, publicIpv6 } }: Lease, family: Family): Address | undefined {
  return family === 4 ? (publicIp ?? publicIpv6) : (publicIpv6 ?? publicIp);
}

function shownRoute(route: HostRoute, { devices }: CheckContext): NonNullable<DesiredWay["route"]> {
  return {
    line: routeLine(route, new Set(devices)),
    device: route.device,
    ...(route.gateway !== undefined && { gateway: route.gateway }),
    ...(route.mtuBytes !== undefined && { mtuBytes: route.mtuBytes }),
    ...(route.table !== undefined && { table: route.table }),
  };
}

function shownPeer({
  device,
  publicKey,
  endpoint,
  allowedIps,
}: NonNullable<HostState["wireguardPeer"]>[number]): NonNullable<DesiredWay["wireguardPeer"]> {
  return {
    device,
    publicKey,
    ...(endpoint !== undefined && { endpoint: endpointText(endpoint) }),
    allowedIps: [...allowedIps],
  };
}

/** That with the longest prefix, as the kernel chooses. */
function routeTo({ route: routes = [] }: HostState, address: Address): HostRoute | undefined {
  let found: HostRoute | undefined;
  for (const route of routes) {
    if (!containsAddress(route.destination, address)) continue;
    if (found === undefined || prefixLength(route.destination) > prefixLength(found.destination)) found = route;
  }
  return found;
}

function carrierOf(kind: string | undefined, backendType: string, { gateway }: HostRoute): CarriedBy {
  if (kind === "vxlan" || kind === "ipip" || kind === "wireguard") return kind;
  if (kind === "tun") return "udp";
  if (backendType === "ipsec") return "ipsec";
  return gateway === undefined ? "other" : "direct";
}

interface Ends {
  readonly gateway: Address | undefined;
  readonly host: Address | undefined;
  readonly port: number | undefined;
  readonly udpPort: number | undefined;
  readonly endpoint: { readonly address: Address; readonly port: number } | undefined;
  readonly vtep: Address | undefined;
}

function outsideOf(carriedBy: CarriedBy, ends: Ends): Outside | undefined {
  const to = (address: Address | undefined, rest: Omit<Outside, "address"> = {}): Outside | undefined =>
    address === undefined ? undefined : { address, ...rest };
  const port = (number: number | undefined) => (number === undefined ? {} : { port: number });
  switch (carriedBy) {
    case "vxlan":
      return to(ends.vtep ?? ends.host, { protocol: "udp", ...port(ends.port) });
    case "udp":
      return to(ends.host, { protocol: "udp", ...port(ends.udpPort) });
    case "wireguard":
      return to(ends.endpoint?.address ?? ends.host, { protocol: "udp", ...port(ends.endpoint?.port) });
    case "ipip":
      return to(ends.gateway ?? ends.host, { protocol: "ipip" });
    case "ipsec":
      return to(ends.host, { protocol: "esp" });
    case "direct":
      return to(ends.gateway);
    case "other":
      return to(ends.host);
  }
}

function endpointText({ address, port }: { readonly address: Address; readonly port: number }): string {
  return familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}
