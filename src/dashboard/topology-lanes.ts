// How this host reaches its peers, grouped: by the device that the route of each names, then by the network of the host
// behind. Pure.
import { familyOf, makePrefix, tryParseAddress } from "../ip/address.ts";
import { networkOf } from "../ip/prefix.ts";
import type { PeerItem } from "./messages.ts";
import { stateRank } from "./words.ts";

export interface PeerGroup {
  /** `192.168.50.0/24`; missing where it stands for several networks, or hosts are not known. */
  readonly network?: string;
  /** Networks that it stands for. */
  readonly networks: number;
  /** Worst first. */
  readonly peers: readonly PeerItem[];
}

export interface Lane {
  /** Missing: no route leads to them. */
  readonly device?: string;
  readonly groups: readonly PeerGroup[];
}

/** Of each device; smaller ones are merged. */
const MAX_GROUPS = 8;
/** Usual sizes of a link: what people mean by a rack or a site. */
const groupLength = { 4: 24, 6: 64 } as const;

export function lanesOf(peers: Iterable<PeerItem>): Lane[] {
  const byDevice = new Map<string, PeerItem[]>();
  for (const peer of peers) {
    const device = peer.device ?? "";
    const members = byDevice.get(device);
    if (members === undefined) byDevice.set(device, [peer]);
    else members.push(peer);
  }
  return [...byDevice]
    .sort(([a], [b]) => (a === "" ? 1 : b === "" ? -1 : a.localeCompare(b, "en")))
    .map(([device, members]) => ({ ...(device !== "" && { device }), groups: groupsOf(members) }));
}

function groupsOf(peers: readonly PeerItem[]): PeerGroup[] {
  const byNetwork = new Map<string, PeerItem[]>();
  for (const peer of peers.toSorted((a, b) => stateRank(a.state) - stateRank(b.state))) {
    const network = networkOfHost(peer.host);
    const members = byNetwork.get(network);
    if (members === undefined) byNetwork.set(network, [peer]);
    else members.push(peer);
  }
  const groups = [...byNetwork].map(([network, members]) => ({
    ...(network !== "" && { network }),
    ...{ networks: 1, peers: members },
  }));
  groups.sort((a, b) => worst(a) - worst(b) || b.peers.length - a.peers.length);
  if (groups.length <= MAX_GROUPS) return groups;
  const rest = groups.slice(MAX_GROUPS - 1);
  const together = { networks: rest.length, peers: rest.flatMap((group) => group.peers) };
  return [...groups.slice(0, MAX_GROUPS - 1), together];
}

function worst({ peers }: PeerGroup): number {
  const [first] = peers;
  return first === undefined ? Number.POSITIVE_INFINITY : stateRank(first.state);
}

/** Empty for what is no address. */
function networkOfHost(host: string | undefined): string {
  const address = tryParseAddress(host ?? "");
  return address === undefined ? "" : networkOf(makePrefix(address, groupLength[familyOf(address)]));
}
