// The live half of a trace: a few marked echo requests, and what was seen of them at each point of this host: on its devices by a
// packet socket, in its rules by nf_tables' own trace, at the peer by who answers there. Ends by itself within seconds.
import { randomBytes, randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { describeError } from "../../../errors.ts";
import { type Address, addressToBytes, familyOf } from "../../../ip/address.ts";
import { NfTraceSocket } from "../../../netlink/nftables/nf-trace-socket.ts";
import type { TraceNote } from "../../../netlink/nftables/trace-messages.ts";
import { PROBE_MARK } from "../../../probe/probe-payload.ts";
import { PacketTap } from "../../../sys/packet-tap.ts";
import { countersOf, grownCounters } from "./device-counters.ts";
import { type RuleDrop, RuleDrops } from "./rule-drops.ts";
import { SeenPackets, UNSEEN_PACKETS } from "./seen-packets.ts";
import type { TestReply, TestSender } from "./test-sender.ts";
import { sizesAround, type TestPackets, type WirePoint, wirePoints } from "./wire.ts";

export interface LiveOptions {
  readonly target: Address;
  /** Stays the caller's. */
  readonly sender: TestSender;
  readonly carriedBy?: string;
  /** Of the peer's host. */
  readonly outside?: Address;
  /** Whose counters are looked at. */
  readonly devices: readonly string[];
  readonly nameOf: (index: number) => string;
  readonly signal: AbortSignal;
}

export interface LiveResult {
  /** Of the whole IP packet. */
  readonly packetBytes: number;
  readonly sent: number;
  readonly rttsMs: readonly number[];
  /** The name of the errno with which the kernel refused to send. */
  readonly sendError?: string;
  /** Errors that came back, in words. */
  readonly errors: readonly string[];
  readonly points: readonly WirePoint[];
  readonly drops: readonly RuleDrop[];
  /** Counters of devices and of the kernel that grew meanwhile and tell of trouble. */
  readonly grown: readonly string[];
  /** What could not be looked at, and why. */
  readonly gaps: readonly string[];
}

const COUNT = 3;
const GAP_MS = 150;
const WAIT_MS = 1_000;
const LINGER_MS = 60;
const LOOK_MS = 5;
/** Others do not take the requests for probes. */
export const TRACE_MARK = PROBE_MARK ^ 2;
const TOKEN_OFFSET = 4;
const TOKEN_BYTES = 16;
const PAYLOAD_BYTES = 56;
const MOST_ERRORS = 8;
const MAX_NOTES = 4_096;

export async function runLiveTest(options: LiveOptions): Promise<LiveResult> {
  const { target, outside, carriedBy } = options;
  const token = randomBytes(TOKEN_BYTES);
  // A size that others seldom have; a multiple of four, so that padding is the same whatever pads.
  const packetBytes = 4 * randomInt(80, 116);
  const test: TestPackets = {
    ...{ family: familyOf(target), token, tokenOffset: TOKEN_OFFSET, packetBytes },
    ...(outside !== undefined && { outside }),
  };
  const around = sizesAround(packetBytes, carriedBy);
  const gaps: string[] = [];
  const tap = tryOpen(() => PacketTap.open([packetBytes, ...around]), UNSEEN_PACKETS, gaps);
  const trace = tryOpen(() => NfTraceSocket.open(flowsOf(test, target, around)), "rules are not traced", gaps);
  try {
    const before = countersOf(options.devices);
    const seen = new Seen(new SeenPackets(tap, test, gaps), trace, gaps);
    const exchanged = await exchange(test, options, seen);
    const drops = new RuleDrops(target, outside);
    return {
      ...exchanged,
      packetBytes,
      points: wirePoints(seen.packets.packets, test, options.nameOf),
      drops: await drops.of(seen.notes),
      grown: grownCounters(before, countersOf(options.devices)),
      gaps,
    };
  } finally {
    trace?.[Symbol.dispose]();
    tap?.[Symbol.dispose]();
  }
}

function tryOpen<T>(open: () => T, what: string, gaps: string[]): T | undefined {
  try {
    return open();
  } catch (error) {
    gaps.push(`${what}: ${describeError(error)}`);
    return undefined;
  }
}

function flowsOf({ outside, packetBytes }: TestPackets, target: Address, around: readonly number[]) {
  const outer = outside === undefined ? [] : around.flatMap((size) => bothWays(outside, size));
  return [...bothWays(target, packetBytes), ...outer];
}

function bothWays(address: Address, packetBytes: number) {
  const bytes = addressToBytes(address);
  return [
    { destination: bytes, packetBytes },
    { source: bytes, packetBytes },
  ];
}

/** All that was seen, within bounds. */
class Seen {
  readonly packets: SeenPackets;
  readonly notes: TraceNote[] = [];
  readonly #trace: NfTraceSocket | undefined;
  readonly #gaps: string[];

  constructor(packets: SeenPackets, trace: NfTraceSocket | undefined, gaps: string[]) {
    this.packets = packets;
    this.#trace = trace;
    this.#gaps = gaps;
  }

  look(): void {
    this.packets.look();
    if (this.#trace === undefined) return;
    const { notes, isWhole } = this.#trace.receive();
    this.notes.push(...notes.slice(0, MAX_NOTES - this.notes.length));
    const gap = "some of what rules did was reported too fast to be read";
    if (!isWhole && !this.#gaps.includes(gap)) this.#gaps.push(gap);
  }
}

type Exchanged = Pick<LiveResult, "sent" | "rttsMs" | "errors" | "sendError">;

async function exchange({ token, packetBytes }: TestPackets, options: LiveOptions, seen: Seen): Promise<Exchanged> {
  const { sender, signal } = options;
  const sentAtMs: number[] = [];
  const rttsMs = new Map<number, number>();
  const errors = new Set<string>();
  let sendError: string | undefined;
  const lastMs = performance.now() + (COUNT - 1) * GAP_MS + WAIT_MS;
  const noteReply = (reply: Parameters<typeof numberOf>[0]): void => {
    const number = numberOf(reply, token);
    const sentMs = number === undefined ? undefined : sentAtMs[number];
    if (number !== undefined && sentMs !== undefined) rttsMs.set(number, Math.max(0, reply.atMs - sentMs));
  };
  const noteError = (error: string): void => {
    if (errors.size < MOST_ERRORS) errors.add(error);
  };
  for (let dueMs = performance.now(); performance.now() < lastMs; ) {
    if (sentAtMs.length < COUNT && performance.now() >= dueMs) {
      dueMs += GAP_MS;
      const number = sentAtMs.length;
      sentAtMs.push(sender.nowMs());
      sendError = sender.send({ number, packetBytes, payload: payloadOf(token, number) }) ?? sendError;
    }
    seen.look();
    const { replies, errors: told } = sender.receive();
    replies.forEach(noteReply);
    told.forEach(noteError);
    if (rttsMs.size === COUNT) break;
    await sleep(LOOK_MS, undefined, { signal });
  }
  await sleep(LINGER_MS, undefined, { signal });
  seen.look();
  return {
    ...{ sent: sentAtMs.length, rttsMs: [...rttsMs.values()], errors: [...errors] },
    ...(sendError !== undefined && { sendError }),
  };
}

function payloadOf(token: Uint8Array, number: number): Uint8Array {
  const bytes = new Uint8Array(PAYLOAD_BYTES);
  new DataView(bytes.buffer).setUint32(0, TRACE_MARK >>> 0);
  bytes.set(token, TOKEN_OFFSET);
  bytes[TOKEN_OFFSET + TOKEN_BYTES] = number;
  return bytes;
}

/** Undefined for what is no answer to a packet of this test. */
function numberOf({ payload }: TestReply, token: Uint8Array): number | undefined {
  const isOurs = Buffer.from(token).equals(payload.subarray(TOKEN_OFFSET, TOKEN_OFFSET + TOKEN_BYTES));
  return isOurs ? payload[TOKEN_OFFSET + TOKEN_BYTES] : undefined;
}
