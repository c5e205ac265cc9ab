// Echo requests on behalf of a person: to several addresses at once, a few each, and what came back. Ends by itself.
import { setTimeout as sleep } from "node:timers/promises";
import { type Address, type Family, familyOf } from "../ip/address.ts";
import { EchoExchange, type EchoPort, type ProbeResult } from "./echo-exchange.ts";
import type { ProbeKind } from "./probe-path.ts";

export interface PingLeg {
  /** What it is called in the answer. */
  readonly name: string;
  readonly kind: ProbeKind;
  readonly target: Address;
  /** Another address of the same host, from which it may answer. */
  readonly alsoFrom?: Address;
}

export interface PingOptions {
  readonly legs: readonly PingLeg[];
  /** Of each leg. */
  readonly count: number;
  /** Of the whole IP packet; missing: as small as possible. */
  readonly packetBytes?: number;
  readonly timeoutMs: number;
  readonly openPort: (family: Family) => EchoPort;
  readonly signal: AbortSignal;
}

export interface PingResult {
  readonly leg: PingLeg;
  readonly sent: number;
  readonly rttsMs: readonly number[];
  /** Of what was not answered, in words; the newest. */
  readonly cause?: string;
}

const GAP_MS = 200;
const LOOK_MS = 10;

interface Tally {
  sent: number;
  readonly rttsMs: number[];
  cause: string | undefined;
}

function probeOf(leg: PingLeg, { packetBytes, timeoutMs }: PingOptions) {
  return {
    owner: leg,
    kind: leg.kind,
    family: familyOf(leg.target),
    target: leg.target,
    ...(leg.alsoFrom !== undefined && { alsoFrom: leg.alsoFrom }),
    ...(packetBytes !== undefined && { packetBytes }),
    timeoutMs,
    payload: { hasBridge: false, networkTag: 0 },
  };
}

function addResult(tally: Tally | undefined, result: ProbeResult): void {
  if (tally === undefined) return;
  if (result.type === "answered" || result.type === "late") tally.rttsMs.push(result.rttMs);
  else tally.cause = causeOf(result) ?? tally.cause;
}

/** In the order of the legs. Rejects with the reason why no socket can be opened, or when `signal` ends it. */
export async function pingLegs(options: PingOptions): Promise<PingResult[]> {
  const { legs, count, timeoutMs, signal } = options;
  const tallies = new Map(legs.map((leg): [PingLeg, Tally] => [leg, { sent: 0, rttsMs: [], cause: undefined }]));
  let problem: string | undefined;
  using exchange = new EchoExchange<PingLeg>(options.openPort, (reason) => {
    problem = reason;
  });
  const settle = (settled: readonly { probe: { owner: PingLeg }; result: ProbeResult }[]) => {
    for (const { probe, result } of settled) addResult(tallies.get(probe.owner), result);
  };
  const probes = legs.map((leg) => probeOf(leg, options));
  const endMs = performance.now() + (count - 1) * GAP_MS + timeoutMs;
  for (let round = 0, dueMs = performance.now(); performance.now() < endMs; ) {
    if (round < count && performance.now() >= dueMs) {
      round++;
      dueMs += GAP_MS;
      for (const tally of tallies.values()) tally.sent++;
      settle(exchange.send(probes, performance.now()));
      if (problem !== undefined) throw new Error(problem);
    }
    settle(exchange.receive(performance.now()).settled);
    if ([...tallies.values()].every(({ rttsMs }) => rttsMs.length === count)) break;
    await sleep(LOOK_MS, undefined, { signal });
  }
  return [...tallies].map(([leg, { sent, rttsMs, cause }]) => ({
    leg,
    sent,
    rttsMs,
    ...(cause !== undefined && { cause }),
  }));
}

function causeOf(result: ProbeResult): string | undefined {
  switch (result.type) {
    case "tooBig":
      return result.isLocal
        ? "larger than the MTU of the device"
        : `larger than the path carries${result.mtuBytes === undefined ? "" : ` (${result.mtuBytes} bytes)`}`;
    case "refused":
    case "forbidden":
      return result.cause;
    case "unsent":
      return result.errno;
    default:
      return undefined;
  }
}
