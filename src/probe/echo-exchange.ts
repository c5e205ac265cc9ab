// Probes on their way: which were sent, what came back for each, and when one counts as lost. A reply counts only when
// identifier, sequence, address, size and an unpredictable token are those of a probe that waits for it.
import { randomBytes } from "node:crypto";
import { describeError } from "../errors.ts";
import type { Address, Family } from "../ip/address.ts";
import { type EchoRequest, echoPacketBytes } from "../sys/echo-request.ts";
import type { EchoEvent, EchoSent } from "../sys/echo-socket.ts";
import type { ProbeKind } from "./probe-path.ts";
import { type ProbePayload, readProbe, TOKEN_BYTES, writeProbe } from "./probe-payload.ts";

/** What an `EchoSocket` does, as it is needed here. */
export interface EchoPort extends Disposable {
  readonly hearsRequests: boolean;
  nowMs(): number;
  send(requests: readonly EchoRequest[]): readonly EchoSent[];
  receive(most: number): readonly EchoEvent[];
}

export interface OutgoingProbe<Owner> {
  readonly owner: Owner;
  readonly kind: ProbeKind;
  readonly family: Family;
  readonly target: Address;
  readonly source?: Address;
  /**
   * Another address of the target's host, from which it may answer: where a bridge holds the subnet, its first address is
   * also IPv6's subnet-router anycast address, from which a reply must not come (RFC 4291 2.6.1).
   */
  readonly alsoFrom?: Address;
  /** Of the whole IP packet; missing: as small as possible. */
  readonly packetBytes?: number;
  readonly timeoutMs: number;
  readonly payload: Omit<ProbePayload, "token" | "kind">;
}

/** What became of a probe. `late` may follow `lost`. */
export type ProbeResult =
  | { readonly type: "answered" | "late"; readonly rttMs: number }
  | { readonly type: "lost" }
  /** Does not fit through a device of this host, or a router on the way says so and quotes the probe. */
  | { readonly type: "tooBig"; readonly mtuBytes?: number; readonly isLocal: boolean }
  | { readonly type: "refused"; readonly cause: string; readonly offender?: Address; readonly wasLost: boolean }
  /** A router on the way forbids it: nothing is known about the peer. */
  | { readonly type: "forbidden"; readonly cause: string }
  /** Did not leave, for a reason of this host that says nothing about the way. */
  | { readonly type: "unsent"; readonly errno: string };

export interface Settled<Owner> {
  readonly probe: OutgoingProbe<Owner>;
  readonly sentAtMs: number;
  readonly result: ProbeResult;
}

export interface HeardRequest {
  readonly source: Address;
  readonly payload: ProbePayload;
}

interface Pending<Owner> {
  readonly probe: OutgoingProbe<Owner>;
  readonly token: Uint8Array;
  readonly sentAtMs: number;
  readonly sentWallMs: number;
  readonly packetBytes: number;
  isLost: boolean;
}

/** For so long an answer is still taken, as a late one. */
const LATE_UNTIL_MS = 5_000;
const MAX_PENDING = 2_048;
/** Read at once; more than that is a flood, in which replies may get lost. */
const MAX_EVENTS = 256;
const SEQUENCES = 0x1_0000;
const REOPEN_AFTER_MS = 30_000;

export class EchoExchange<Owner> implements Disposable {
  readonly #open: (family: Family) => EchoPort;
  readonly #onProblem: (reason: string) => void;
  readonly #ports = new Map<Family, EchoPort>();
  readonly #problems = new Map<Family, { readonly reason: string; readonly atMs: number }>();
  /** By family and sequence; oldest first. */
  readonly #pending = new Map<number, Pending<Owner>>();
  #sequence = randomBytes(2).readUInt16BE();

  /** `onProblem`: no socket can be opened, for a reason that was not reported before. It is tried again. */
  constructor(open: (family: Family) => EchoPort, onProblem: (reason: string) => void) {
    this.#open = open;
    this.#onProblem = onProblem;
  }

  /** Why probes of a family cannot be sent. */
  problem(family: Family): string | undefined {
    return this.#problems.get(family)?.reason;
  }

  /** What could not be sent is settled at once. `isAwaited: false`: only that, no answer is taken. */
  send(probes: readonly OutgoingProbe<Owner>[], nowMs: number, { isAwaited = true } = {}): Settled<Owner>[] {
    return ([4, 6] as const).flatMap((family) => {
      const ofFamily = probes.filter((probe) => probe.family === family);
      const port = ofFamily.length === 0 ? undefined : this.#port(family, nowMs);
      return port === undefined ? [] : this.#sendBy(port, ofFamily, nowMs, isAwaited);
    });
  }

  /** Everything that has come; `isFlooded`: more than is read at once. */
  receive(nowMs: number): { settled: Settled<Owner>[]; requests: HeardRequest[]; isFlooded: boolean } {
    const settled: Settled<Owner>[] = [];
    const requests: HeardRequest[] = [];
    let isFlooded = false;
    for (const [family, port] of this.#ports) {
      const events = port.receive(MAX_EVENTS);
      isFlooded ||= events.length >= MAX_EVENTS;
      for (const event of events) {
        if (event.type === "request") {
          const payload = readProbe(event.payload);
          if (payload !== undefined) requests.push({ source: event.source, payload });
        } else {
          const result = this.#match(family, event, nowMs);
          if (result !== undefined) settled.push(result);
        }
      }
    }
    return { settled, requests, isFlooded };
  }

  /** Probes whose time is up. */
  expire(nowMs: number): Settled<Owner>[] {
    const lost: Settled<Owner>[] = [];
    for (const [key, pending] of this.#pending) {
      const { probe, sentAtMs } = pending;
      if (nowMs - sentAtMs > LATE_UNTIL_MS) this.#pending.delete(key);
      if (pending.isLost || nowMs - sentAtMs < probe.timeoutMs) continue;
      pending.isLost = true;
      lost.push({ probe, sentAtMs, result: { type: "lost" } });
    }
    return lost;
  }

  /** What has no answer by now says nothing: this process, or the machine, stood still. */
  discard(): void {
    this.#pending.clear();
  }

  [Symbol.dispose](): void {
    for (const port of this.#ports.values()) port[Symbol.dispose]();
    this.#ports.clear();
    this.#pending.clear();
  }

  #port(family: Family, nowMs: number): EchoPort | undefined {
    const known = this.#ports.get(family);
    if (known !== undefined) return known;
    const problem = this.#problems.get(family);
    if (problem !== undefined && nowMs - problem.atMs < REOPEN_AFTER_MS) return undefined;
    try {
      const port = this.#open(family);
      this.#ports.set(family, port);
      this.#problems.delete(family);
      return port;
    } catch (error) {
      const reason = describeError(error);
      if (problem?.reason !== reason) this.#onProblem(reason);
      this.#problems.set(family, { reason, atMs: nowMs });
      return undefined;
    }
  }

  #sendBy(
    port: EchoPort,
    probes: readonly OutgoingProbe<Owner>[],
    nowMs: number,
    isAwaited: boolean,
  ): Settled<Owner>[] {
    const settled: Settled<Owner>[] = [];
    const sentWallMs = port.nowMs();
    const batch = probes.map((probe) => {
      const token = randomBytes(TOKEN_BYTES);
      const sequence = this.#nextSequence(probe.family);
      const { target, source, packetBytes } = probe;
      const payload = writeProbe({ ...probe.payload, kind: probe.kind, token });
      const request: EchoRequest = {
        target,
        sequence,
        payload,
        ...(source !== undefined && { source }),
        ...(packetBytes !== undefined && { packetBytes }),
      };
      return { probe, request, token };
    });
    const errors = port.send(batch.map(({ request }) => request));
    batch.forEach(({ probe, request, token }, index) => {
      const errno = errors[index];
      if (errno !== undefined) {
        settled.push({ probe, sentAtMs: nowMs, result: failedSend(errno, request.source !== undefined) });
        return;
      }
      if (!isAwaited) return;
      const packetBytes = request.packetBytes ?? echoPacketBytes(probe.family).least;
      const pending = { probe, token, sentAtMs: nowMs, sentWallMs, packetBytes, isLost: false };
      this.#pending.set(keyOf(probe.family, request.sequence), pending);
    });
    return settled;
  }

  #nextSequence(family: Family): number {
    // One that waits for nothing; there are far more than may wait.
    do this.#sequence = (this.#sequence + 1) % SEQUENCES;
    while (this.#pending.has(keyOf(family, this.#sequence)));
    const [oldest] = this.#pending.size >= MAX_PENDING ? this.#pending.keys() : [];
    if (oldest !== undefined) this.#pending.delete(oldest);
    return this.#sequence;
  }

  #match(family: Family, event: Exclude<EchoEvent, { type: "request" }>, nowMs: number): Settled<Owner> | undefined {
    const key = keyOf(family, event.sequence);
    const pending = this.#pending.get(key);
    const payload = readProbe(event.payload);
    if (pending === undefined || payload === undefined || !Buffer.from(payload.token).equals(pending.token)) {
      return undefined;
    }
    const { probe, sentAtMs, sentWallMs, packetBytes, isLost } = pending;
    if (event.type === "error") {
      if (event.target !== probe.target) return undefined;
      const result = resultOfError(family, event, isLost);
      // An error that comes in time settles the probe; a late one only gives the cause.
      if (!isLost) this.#pending.delete(key);
      return { probe, sentAtMs, result };
    }
    const isFromTarget = event.source === probe.target || event.source === probe.alsoFrom;
    if (!isFromTarget || event.packetBytes !== packetBytes) return undefined;
    this.#pending.delete(key);
    // The wall clock may have been set meanwhile; the other one goes on while nobody reads.
    const wallMs = event.receivedAtMs - sentWallMs;
    const elapsedMs = nowMs - sentAtMs;
    const rttMs = wallMs >= 0 && wallMs <= elapsedMs ? wallMs : elapsedMs;
    return { probe, sentAtMs, result: { type: isLost ? "late" : "answered", rttMs } };
  }
}

function keyOf(family: Family, sequence: number): number {
  return (family === 6 ? SEQUENCES : 0) + sequence;
}

/**
 * Whether the destination may be what is missing. A source address that this host does not have is invalid to older kernels,
 * and unreachable to newer ones (seen with 6.18).
 */
export function isUnreachable(errno: string): boolean {
  return errno === "ENETUNREACH" || errno === "EHOSTUNREACH";
}

/** Without the source it is tried again: then what is left is the destination's. */
function failedSend(errno: string, hasSource: boolean): ProbeResult {
  if (hasSource && isUnreachable(errno)) return { type: "unsent", errno };
  switch (errno) {
    case "EMSGSIZE":
      return { type: "tooBig", isLocal: true };
    case "ENETUNREACH":
    case "EHOSTUNREACH":
    case "ENETDOWN":
      return { type: "refused", cause: `this host has no route (${errno})`, wasLost: false };
    case "EACCES":
    case "EPERM":
      return { type: "refused", cause: `a rule of this host forbids it (${errno})`, wasLost: false };
    default:
      return { type: "unsent", errno };
  }
}

function resultOfError(family: Family, event: Extract<EchoEvent, { type: "error" }>, wasLost: boolean): ProbeResult {
  const { icmpType, icmpCode, mtuBytes, offender } = event;
  const from = offender === undefined ? "" : ` from ${offender}`;
  const cause = `ICMP type ${icmpType} code ${icmpCode}${from}`;
  const isTooBig = family === 4 ? icmpType === 3 && icmpCode === 4 : icmpType === 2;
  if (isTooBig) return { type: "tooBig", mtuBytes, isLocal: event.origin === "local" };
  // Communication administratively prohibited, and what firewalls answer for it.
  const isForbidden =
    family === 4
      ? icmpType === 3 && [3, 9, 10, 13].includes(icmpCode)
      : icmpType === 1 && icmpCode !== 0 && icmpCode !== 3;
  if (isForbidden) return { type: "forbidden", cause };
  return { type: "refused", cause, wasLost, ...(offender !== undefined && { offender }) };
}
