// Peers that exist in a table alone, for the prober: who answers, how fast, and what was asked when. Time is a number.
import { type Address, type Family, makePrefix, type Prefix, parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { addToAddress } from "../../src/ip/prefix.ts";
import type { EchoPort } from "../../src/probe/echo-exchange.ts";
import type { ProbePath } from "../../src/probe/probe-path.ts";
import { Prober } from "../../src/probe/prober.ts";
import { type EchoRequest, echoPacketBytes } from "../../src/sys/echo-request.ts";
import type { EchoEvent } from "../../src/sys/echo-socket.ts";

/** The prober's own turn is a little longer than a tenth of a second. */
const TICK_MS = 102;

export interface SentProbe {
  readonly target: Address;
  readonly atMs: number;
  readonly source?: Address;
}

export class ProbeWorld implements Disposable {
  nowMs = 1_000_000;
  readonly prober: Prober;
  readonly sent: SentProbe[] = [];
  readonly silent = new Set<Address>();
  /** With what a probe from an address that this host does not have is refused; undefined: it has all. */
  sourceRefusal: string | undefined;
  /** By address; default 1 ms. */
  readonly rttMs = new Map<Address, number>();
  /** What a reply is made into before it arrives. */
  distort: (event: EchoEvent) => EchoEvent = (event) => event;
  readonly #events: { readonly family: Family; readonly atMs: number; readonly event: EchoEvent }[] = [];
  #seed: number;

  constructor(seed: number, intervalMs = 1_000) {
    this.#seed = seed;
    this.prober = new Prober({
      intervalMs,
      openPort: (family) => this.#port(family),
      askByTcp: async (target) => {
        this.sent.push({ target, atMs: this.nowMs });
        return this.tcpOnly.has(target) || (!this.silent.has(target) && this.answersTcp);
      },
      hearTraffic: async (subnet, _, signal) => {
        // Whoever answers TCP has answered by then.
        for (let turn = 0; turn < 3; turn++) await Promise.resolve();
        if (signal.aborted) return undefined;
        this.listened.push(subnet);
        return this.hasTraffic;
      },
      monotonicMs: () => this.nowMs,
      wallMs: () => this.nowMs,
      random: () => this.random(),
    });
  }

  answersTcp = false;
  /** TCP of every peer's containers goes on; undefined: nothing can be listened to. */
  hasTraffic: boolean | undefined = false;
  /** Subnets whose TCP was listened to. */
  readonly listened: Prefix[] = [];
  /** This host has no route to them, whatever the source; with the errno. */
  readonly unreachable = new Map<Address, string>();
  /** They answer TCP, whoever else is silent. */
  readonly tcpOnly = new Set<Address>();

  /** A linear congruential generator: the same course for the same seed. */
  random(): number {
    this.#seed = (Math.imul(this.#seed, 1_664_525) + 1_013_904_223) >>> 0;
    return this.#seed / 2 ** 32;
  }

  /** One turn, `lateMs` late. */
  async tick(lateMs = 0): Promise<void> {
    this.nowMs += TICK_MS + lateMs;
    this.prober.tick();
    await Promise.resolve();
    await Promise.resolve();
  }

  async run(ms: number): Promise<void> {
    for (const until = this.nowMs + ms; this.nowMs < until; ) await this.tick();
  }

  /** Ms until the state is reached. */
  async until(isReached: () => boolean, withinMs = 400_000): Promise<number> {
    const start = this.nowMs;
    while (!isReached()) {
      if (this.nowMs - start > withinMs) throw new Error(`not reached within ${withinMs} ms`);
      await this.tick();
    }
    return this.nowMs - start;
  }

  #port(family: Family): EchoPort {
    return {
      hearsRequests: true,
      nowMs: () => this.nowMs,
      send: (requests) => requests.map((request) => this.#send(family, request)),
      receive: (most) => {
        const due = this.#events.filter((one) => one.family === family && one.atMs <= this.nowMs).slice(0, most);
        for (const one of due) this.#events.splice(this.#events.indexOf(one), 1);
        return due.map(({ event }) => event);
      },
      [Symbol.dispose]: () => undefined,
    };
  }

  #send(
    family: Family,
    { target, sequence, payload, packetBytes = echoPacketBytes(family).least, source }: EchoRequest,
  ): string | undefined {
    if (source !== undefined && this.sourceRefusal !== undefined) return this.sourceRefusal;
    const unreachable = this.unreachable.get(target);
    if (unreachable !== undefined) return unreachable;
    this.sent.push({ target, atMs: this.nowMs, ...(source !== undefined && { source }) });
    if (this.silent.has(target)) return undefined;
    const atMs = this.nowMs + (this.rttMs.get(target) ?? 1);
    const reply: EchoEvent = { type: "reply", source: target, sequence, payload, packetBytes, receivedAtMs: atMs };
    this.#events.push({ family, atMs, event: this.distort(reply) });
    return undefined;
  }

  [Symbol.dispose](): void {
    this.prober[Symbol.dispose]();
  }
}

export function worldPath(number: number, changed: Partial<ProbePath> = {}): ProbePath {
  const first = addToAddress(parseAddress("10.0.0.0"), BigInt(number) << 8n);
  return {
    peer: `peer-${number}`,
    subnet: makePrefix(first, 24),
    family: 4,
    underlay: addToAddress(parseAddress("192.168.0.0"), BigInt(number)),
    tunnel: first,
    bridge: addToAddress(first, 1n),
    ownSubnet: parsePrefix("10.255.1.0/24"),
    ownBridge: parseAddress("10.255.1.1"),
    underlayMtuBytes: 1_500,
    overlayMtuBytes: 1_450,
    ...changed,
  };
}

export const noRecorder = {
  sent: () => undefined,
  answered: () => undefined,
  lost: () => undefined,
  discarded: () => undefined,
};
