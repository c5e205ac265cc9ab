// What the agent answers as items of the board. Pure.
import type { NetworkStatus, Plan, Rules, Status } from "../../../agent/control/control-protocol.ts";
import type { Peer } from "../../../agent/control/journal-protocol.ts";
import type {
  AgentItem,
  EntryItem,
  NetworkItem,
  PeerItem,
  PlanItem,
  RulesItem,
  SampleItem,
} from "../../../dashboard/messages.ts";
import { causeText, fieldsText } from "../commands/journal-view.ts";
import { sortPeers } from "../commands/peers-view.ts";
import type { JournalEntryOutput } from "../session/json-output.ts";

/** Of all networks together; of more the worst are shown. */
export const MAX_PEERS = 5_000;
const MAX_LINES = 2_000;
const MAX_LISTED = 100;

export function agentItem({ agent, store, ...status }: Status, host: string): AgentItem {
  return {
    host,
    version: agent.version,
    pid: agent.pid,
    startedAt: agent.startedAt,
    state: status.state,
    stateChangedAt: status.stateChangedAt,
    ...(status.pendingState !== undefined && { pendingState: status.pendingState }),
    reasons: status.reasons.map(({ name, message }) => ({ name, message })),
    store: {
      description: store.description,
      connected: store.connected,
      ...(store.problem !== undefined && { problem: store.problem }),
    },
  };
}

export function networkItem(network: NetworkStatus, devices: readonly string[], morePeers: number): NetworkItem {
  const { state, backendType, mtuBytes, externalInterface: external, lease, revision, probes, repairs } = network;
  return {
    ...(state !== undefined && { state }),
    reasons: (network.reasons ?? []).map(({ name, message }) => ({ name, message })),
    ...(backendType !== undefined && { backendType }),
    ...(mtuBytes !== undefined && { mtuBytes }),
    ...(external !== undefined && {
      externalInterface: {
        name: external.name,
        mtuBytes: external.mtuBytes,
        addresses: present([external.address, external.ipv6Address]),
      },
    }),
    ownSubnets: present([lease?.subnet, lease?.ipv6Subnet]),
    isWarmStart: network.warmStart,
    ...(revision !== undefined && { revision }),
    peers: { known: network.peers.known, desired: network.peers.desired, programmed: network.peers.programmed },
    morePeers,
    ...(probes !== undefined && {
      probes: {
        intervalSeconds: probes.intervalSeconds,
        ...(probes.problem !== undefined && { problem: probes.problem }),
      },
    }),
    failures: network.failures.slice(0, MAX_LISTED).map(({ object, error, attempts }) => ({ object, error, attempts })),
    repairs: { total: repairs.total, last: repairs.last.slice(-MAX_LISTED) },
    devices,
  };
}

type Path = NonNullable<NetworkStatus["probes"]>["paths"][number];

/** By key; `most` of them, the worst first. `devices`: see `devicesOf`. */
export function peerItems(
  peers: readonly Peer[],
  { probes }: Pick<NetworkStatus, "probes">,
  devices: ReadonlyMap<string, string>,
  most: number,
): Map<string, PeerItem> {
  const paths = new Map<string, Path[]>();
  for (const path of probes?.paths ?? []) paths.set(path.peer, [...(paths.get(path.peer) ?? []), path]);
  return new Map(
    sortPeers(peers, "state")
      .slice(0, most)
      .map((peer) => [peer.key, peerItem(peer, paths.get(peer.key) ?? [], devices)]),
  );
}

function peerItem(peer: Peer, paths: readonly Path[], devices: ReadonlyMap<string, string>): PeerItem {
  const subnets = present([peer.subnet, peer.ipv6Subnet]);
  const host = peer.publicIp ?? peer.publicIpv6;
  const pathMtu = smallestMtu(paths);
  const [device] = subnets.flatMap((subnet) => devices.get(subnet) ?? []);
  return {
    key: peer.key,
    subnets,
    ...(host !== undefined && { host }),
    state: peer.state,
    ...(peer.reason !== undefined && { reason: peer.reason }),
    ...(peer.stateSince !== undefined && { since: peer.stateSince }),
    ...(peer.rttSeconds !== undefined && { rttSeconds: peer.rttSeconds }),
    ...(peer.lossRatio !== undefined && { lossRatio: peer.lossRatio }),
    ...(peer.mtuBytes !== undefined && { mtuBytes: peer.mtuBytes }),
    ...(pathMtu !== undefined && { pathMtu }),
    ...(peer.receivedBytes !== undefined && { receivedBytes: peer.receivedBytes }),
    ...(peer.sentBytes !== undefined && { sentBytes: peer.sentBytes }),
    ...(peer.endpoint !== undefined && { endpoint: peer.endpoint }),
    ...(peer.changedAt !== undefined && { changedAt: peer.changedAt }),
    ...(device !== undefined && { device }),
  };
}

/** Of two address families. */
function smallestMtu(paths: readonly Path[]): PeerItem["pathMtu"] {
  const found = present(paths.map(({ mtu }) => mtu));
  if (found.length === 0) return undefined;
  return {
    overlayBytes: Math.min(...found.map(({ overlayBytes }) => overlayBytes)),
    wholeBytes: Math.min(...found.map(({ wholeBytes }) => wholeBytes)),
  };
}

/** Which device the route to each subnet names, in the lines of a plan. */
export function devicesOf(desired: readonly string[]): Map<string, string> {
  const devices = new Map<string, string>();
  for (const line of desired) {
    const [, subnet, device] = /^([0-9a-f.:]+\/\d+)(?: via \S+)? dev (\S+)/.exec(line) ?? [];
    if (subnet !== undefined && device !== undefined) devices.set(subnet, device);
  }
  return devices;
}

export function planItem({ desired, difference }: Plan["networks"][number]): PlanItem {
  return {
    desired: desired.slice(0, MAX_LINES),
    desiredCount: desired.length,
    difference: difference.slice(0, MAX_LINES),
    differenceCount: difference.length,
  };
}

export function rulesItem({ mode, reason, wanted, difference }: Rules["networks"][number]): RulesItem {
  return { mode, reason, wanted: wanted.slice(0, MAX_LINES), difference: difference.slice(0, MAX_LINES) };
}

export function entryItem(entry: JournalEntryOutput): Omit<EntryItem, "id"> {
  const { at, event, level, message, leftOut } = entry;
  const cause = causeText(entry).trim();
  return {
    ...{ at, event, level },
    message: `${message}${fieldsText(entry)}`,
    ...(cause !== "" && { cause: cause.replace(/^\((.*)\)$/s, "$1") }),
    ...(leftOut !== undefined && { leftOut }),
  };
}

/** Undefined without probes: there is nothing to draw. */
export function sampleOf(
  network: string,
  peers: readonly Peer[],
  { probes }: Pick<NetworkStatus, "probes">,
  atMs: number,
): SampleItem | undefined {
  if (probes === undefined) return undefined;
  const rtts = peers.flatMap(({ rttSeconds }) => rttSeconds?.p50 ?? []).sort((a, b) => a - b);
  const median = rtts[Math.floor(rtts.length / 2)];
  const worst = rtts.at(-1);
  const sent = probes.paths.reduce((sum, path) => sum + path.sent, 0);
  const lost = probes.paths.reduce((sum, path) => sum + path.lost, 0);
  const { down, oneWay, mtuBroken } = probes.states;
  return {
    ...{ network, atMs, peers: peers.length, bad: down + oneWay + mtuBroken },
    rttP50Ms: median === undefined ? null : median * 1_000,
    rttWorstMs: worst === undefined ? null : worst * 1_000,
    lossPercent: sent === 0 ? null : (100 * lost) / sent,
  };
}

function present<T>(values: readonly (T | undefined)[]): T[] {
  return values.filter((value) => value !== undefined);
}
