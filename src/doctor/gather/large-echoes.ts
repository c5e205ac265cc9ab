// Sends large echoes that must not be fragmented, whatever the kernel believes of the path (IP_PMTUDISC_PROBE): not with the program
// ping, which knows that only since iputils 20221126. Of each a few, and what came back.
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { type Address, type Family, familyOf } from "../../ip/address.ts";
import { ECHO_PAYLOAD_BYTES } from "../../sys/echo-request.ts";
import { type EchoEvent, EchoSocket } from "../../sys/echo-socket.ts";
import type { EchoResult } from "../peer-facts.ts";

export interface LargeEcho {
  readonly target: Address;
  /** Of the whole IP packet. */
  readonly packetBytes: number;
}

export interface LargeReply {
  readonly result: EchoResult;
  /** As reported by the router that could not forward it. */
  readonly pathMtuBytes?: number;
}

/** None is another program's: agents' probes begin otherwise. */
const MARK = 0x64_6f_63_31;
const ROUNDS = 3;
const GAP_MS = 200;
const WAIT_MS = 1_000;
const LOOK_MS = 20;
const MAX_READ = 256;
const ICMP_UNREACHABLE = 3;
const FRAGMENTATION_NEEDED = 4;
const ICMPV6_TOO_BIG = 2;

/** In the order of the echoes. Throws when the kernel refuses a socket. */
export async function sendLargeEchoes(echoes: readonly LargeEcho[]): Promise<LargeReply[]> {
  const replies: LargeReply[] = echoes.map(() => ({ result: "unknown" }));
  await Promise.all(
    ([4, 6] as const).map(async (family) => {
      const numbers = [...echoes.keys()].filter(
        (at) => familyOf(echoes[at]?.target ?? ("0.0.0.0" as Address)) === family,
      );
      if (numbers.length > 0) await sendOfFamily(family, numbers, echoes, replies);
    }),
  );
  return replies;
}

/** The number of an echo is its sequence number. */
async function sendOfFamily(
  family: Family,
  numbers: readonly number[],
  echoes: readonly LargeEcho[],
  replies: LargeReply[],
): Promise<void> {
  using socket = EchoSocket.open(family, MARK);
  const payload = Buffer.alloc(ECHO_PAYLOAD_BYTES);
  payload.writeUInt32BE(MARK);
  const nonce = randomBytes(8);
  nonce.copy(payload, 4);
  const take = () => {
    for (const event of socket.receive(MAX_READ)) takeEvent(event, nonce, echoes, replies);
  };
  let sentRounds = 0;
  const startMs = performance.now();
  while (performance.now() - startMs < (ROUNDS - 1) * GAP_MS + WAIT_MS) {
    if (sentRounds < ROUNDS && performance.now() - startMs >= sentRounds * GAP_MS) {
      sentRounds++;
      const open = numbers.filter((at) => replies[at]?.result !== "answered");
      const errnos = socket.send(open.map((at) => request(echoes[at], at, payload)));
      noteSent(open, errnos, replies);
    }
    await delay(LOOK_MS);
    take();
    if (numbers.every((at) => replies[at]?.result === "answered" || replies[at]?.result === "refused")) return;
  }
}

/** Until there is an answer, an echo counts as lost, or as refused by this host's kernel. */
function noteSent(numbers: readonly number[], errnos: ReturnType<EchoSocket["send"]>, replies: LargeReply[]): void {
  for (const [index, errno] of errnos.entries()) {
    const at = numbers[index] ?? -1;
    if (replies[at]?.result === "unknown") replies[at] = { result: errno === undefined ? "lost" : "refused" };
  }
}

function request(echo: LargeEcho | undefined, sequence: number, payload: Uint8Array) {
  const { target = "0.0.0.0" as Address, packetBytes = 0 } = echo ?? {};
  return { target, sequence, payload, packetBytes };
}

function takeEvent(event: EchoEvent, nonce: Buffer, echoes: readonly LargeEcho[], replies: LargeReply[]): void {
  if (event.type === "request" || !nonce.equals(event.payload.subarray(4, 4 + nonce.length))) return;
  const echo = echoes[event.sequence];
  const known = replies[event.sequence];
  if (echo === undefined || known === undefined || known.result === "answered") return;
  if (event.type === "reply") {
    // Through a tunnel the peer's host may answer by another of its addresses.
    if (event.packetBytes >= echo.packetBytes) replies[event.sequence] = { result: "answered" };
    return;
  }
  const isTooBig =
    (event.icmpType === ICMP_UNREACHABLE && event.icmpCode === FRAGMENTATION_NEEDED) ||
    (event.icmpType === ICMPV6_TOO_BIG && echo.target.includes(":"));
  const isSane = event.mtuBytes >= 552 && event.mtuBytes < echo.packetBytes;
  if (isTooBig && isSane && event.target === echo.target && event.origin === "network") {
    replies[event.sequence] = { result: "lost", pathMtuBytes: event.mtuBytes };
  }
}
