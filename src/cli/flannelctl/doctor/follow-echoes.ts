// Sends a few echoes whose way through this host is watched: from containers of this host to peers, from this host to its
// containers, and from this host to a peer through the tunnel. Packet sockets look on; nothing of the host is changed. A second and
// a half at most.
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  ARP_BYTES,
  type EchoStation,
  type FollowedEcho,
  isLinkQuestion,
  sightOf,
} from "../../../doctor/followed-echo.ts";
import { readReply } from "../../../doctor/gather/echoes.ts";
import { type Address, familyOf } from "../../../ip/address.ts";
import { PacketTap, type TappedPacket } from "../../../sys/packet-tap.ts";
import { findTool, tryTool } from "../../../sys/run-tool.ts";
import { countersOf, grownCounters } from "../trace/device-counters.ts";
import { endsOf, sizesAround } from "../trace/wire.ts";
import type { ContainerPort } from "./container-ports.ts";

/** One test: whose echoes, to whom, and where they have to pass. */
export interface FollowPlan {
  readonly sender: "host" | "container";
  readonly port?: ContainerPort;
  readonly target: Address;
  readonly stations: readonly Omit<EchoStation, "seen">[];
  /** Of the tunnel that carries it; missing: none. */
  readonly carriedBy?: string;
  /** The peer's host, where packets around it go. */
  readonly outside?: Address;
}

const COUNT = 3;
const WAIT_SECONDS = 1;
const LOOK_MS = 20;
const MAX_PACKETS = 4_096;
const UDP = 17;
const [HEADERS_4, HEADERS_6] = [28, 48];

/** Throws where this host has no ping, and where packets cannot be watched, or are too many. */
export async function followEchoes(
  plans: readonly FollowPlan[],
  deviceNames: ReadonlyMap<number, string>,
  limitMs: number,
): Promise<FollowedEcho[]> {
  if (plans.length === 0) return [];
  const ping = findTool("ping");
  if (ping === undefined) throw new Error("this host has no program ping");
  const tests = plans.map((plan, at) => testOf(plan, at));
  using tap = PacketTap.withQuestions([
    ARP_BYTES,
    ...tests.flatMap(({ packetBytes, around }) => [packetBytes, ...around]),
  ]);
  const packets: TappedPacket[] = [];
  const look = () => packets.push(...tap.receive(MAX_PACKETS - packets.length));
  const devices = [...new Set(plans.flatMap(({ stations }) => stations.flatMap(({ device }) => device ?? [])))];
  const before = countersOf(devices);
  const ended = new AbortController();
  const looking = watch(look, ended.signal);
  // A failure is reported below, which may be later than Node would wait for.
  looking.catch(() => undefined);
  try {
    const replies = await Promise.all(tests.map((test) => sendTest(ping, test, limitMs)));
    ended.abort();
    await looking;
    look();
    // An echo that nobody saw for want of room is not lost.
    if (packets.length >= MAX_PACKETS || tap.missed() > 0) {
      throw new Error("more packets as large as the echoes passed than can be watched");
    }
    const linkQuestions = packets.filter(
      ({ isOutgoing, bytes, packetBytes }) => isOutgoing && isLinkQuestion(bytes, packetBytes),
    ).length;
    const grown = grownCounters(before, countersOf(devices));
    return tests.map((test, at) => ({
      ...{ sender: test.plan.sender, target: test.plan.target, grown, linkQuestions },
      ...(test.plan.outside !== undefined && { outside: test.plan.outside }),
      ...(test.plan.port !== undefined && { container: test.plan.port.label }),
      ...{ sent: replies[at]?.sent ?? 0, answered: replies[at]?.answered ?? 0 },
      stations: stationsSeen(test, packets, deviceNames),
    }));
  } finally {
    ended.abort();
  }
}

interface Test {
  readonly plan: FollowPlan;
  /** Of the whole IP packet: no two tests have the same. */
  readonly packetBytes: number;
  readonly around: readonly number[];
}

/** Sizes that others seldom have, and far enough from each other for what goes around them. */
function testOf(plan: FollowPlan, at: number): Test {
  const packetBytes = 200 + 96 * at + 4 * randomInt(0, 8);
  return { plan, packetBytes, around: sizesAround(packetBytes, plan.carriedBy) };
}

async function watch(look: () => void, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    look();
    await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function sendTest(ping: string, { plan, packetBytes }: Test, limitMs: number) {
  const { target, port, sender } = plan;
  const payloadBytes = packetBytes - (familyOf(target) === 4 ? HEADERS_4 : HEADERS_6);
  const words = [
    "-n",
    "-c",
    String(COUNT),
    "-i",
    "0.2",
    "-W",
    String(WAIT_SECONDS),
    "-s",
    String(payloadBytes),
    target,
  ];
  const nsenter = sender === "container" ? findTool("nsenter") : undefined;
  if (sender === "container" && nsenter === undefined) throw new Error("this host has no program nsenter");
  const { stdout, stderr, exitCode } =
    nsenter === undefined || port === undefined
      ? await tryTool(ping, words, "", limitMs)
      : await tryTool(nsenter, [`--net=${port.namespacePath}`, ping, ...words], "", limitMs);
  return readReply(`${stdout}\n${stderr}`, exitCode);
}

/** Pure. */
function stationsSeen(
  { plan, packetBytes, around }: Test,
  packets: readonly TappedPacket[],
  deviceNames: ReadonlyMap<number, string>,
): EchoStation[] {
  const numbers = plan.stations.map(() => new Set<number>());
  for (const [at, packet] of packets.entries()) {
    const sight = sightOf(packet.bytes, plan.target, packetBytes) ?? encryptedSight(packet, at, plan, around);
    if (sight === undefined) continue;
    const device = deviceNames.get(packet.deviceIndex);
    const direction = packet.isOutgoing ? "out" : "in";
    for (const [index, station] of plan.stations.entries()) {
      const isHere =
        station.packet === sight.packet &&
        station.direction === direction &&
        (station.place === "outside" && plan.carriedBy !== undefined) === sight.isInside &&
        isDevice(station, device, plan);
      if (isHere) numbers[index]?.add(sight.sequence);
    }
  }
  return plan.stations.map((station, index) => ({ ...station, seen: numbers[index]?.size ?? 0 }));
}

/** Without a name: any that no other station has, such as either of two that are bonded. */
function isDevice({ device: wanted }: FollowPlan["stations"][number], device: string | undefined, plan: FollowPlan) {
  return wanted === undefined ? !plan.stations.some((other) => other.device === device) : wanted === device;
}

/** What is inside cannot be seen: the size and the ends have to do. */
function encryptedSight({ bytes, packetBytes }: TappedPacket, at: number, plan: FollowPlan, around: readonly number[]) {
  if (plan.carriedBy !== "wireguard" || plan.outside === undefined || !around.includes(packetBytes)) return undefined;
  const ends = endsOf(bytes);
  if (ends?.protocol !== UDP) return undefined;
  const packet = ends.destination === plan.outside ? "request" : ends.source === plan.outside ? "reply" : undefined;
  return packet === undefined ? undefined : ({ packet, isInside: true, sequence: at } as const);
}
