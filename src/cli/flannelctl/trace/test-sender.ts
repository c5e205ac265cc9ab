// Who sends the test packets of a trace: this host itself, or a stand-in for one of its containers.
import { randomInt } from "node:crypto";
import { type Address, addressToBytes, familyOf } from "../../../ip/address.ts";
import { type EchoEvent, EchoSocket } from "../../../sys/echo-socket.ts";
import type { ScratchContainer } from "./scratch-container.ts";

export interface TestSender extends Disposable {
  /** Of a clock of its own, in ms. */
  nowMs(): number;
  /** Returns the name of the errno with which the kernel refused. */
  send(packet: {
    readonly number: number;
    readonly payload: Uint8Array;
    readonly packetBytes: number;
  }): string | undefined;
  /** Payloads of replies with the moment they came, and errors in words. */
  receive(): { readonly replies: readonly TestReply[]; readonly errors: readonly string[] };
}

export interface TestReply {
  readonly payload: Uint8Array;
  readonly atMs: number;
}

const MOST_EVENTS = 64;
const ECHO_REPLY = 0;

/** `mark`: with which the payload begins. Throws as `EchoSocket.open`. */
export function hostSender(target: Address, source: Address | undefined, mark: number): TestSender {
  const echo = EchoSocket.open(familyOf(target), mark);
  const first = randomInt(0x1_0000);
  const isOurs = (event: EchoEvent) => event.type !== "request" && ((event.sequence - first) & 0xff_ff) < 256;
  return {
    nowMs: () => echo.nowMs(),
    send: ({ number, payload, packetBytes }) => {
      const sequence = (first + number) & 0xff_ff;
      return echo.send([{ target, sequence, payload, packetBytes, ...(source !== undefined && { source }) }])[0];
    },
    receive: () => {
      const events = echo.receive(MOST_EVENTS).filter(isOurs);
      return {
        replies: events.flatMap((event) =>
          event.type === "reply" ? [{ payload: event.payload, atMs: event.receivedAtMs }] : [],
        ),
        errors: events.flatMap((event) => {
          if (event.type !== "error") return [];
          const who = event.origin === "local" ? "this host" : (event.offender ?? "a host on the way");
          return [`${who} says: ${errorWords(target, event.icmpType, event.icmpCode)}`];
        }),
      };
    },
    [Symbol.dispose]: () => echo[Symbol.dispose](),
  };
}

/** The container stays the caller's. */
export function containerSender(target: Address, container: ScratchContainer): TestSender {
  const first = randomInt(0x1_0000);
  const wanted = addressToBytes(target);
  /** Behind the header of an ICMP error stands that of the packet it is about (RFC 792). */
  const isAboutOurs = (content: Uint8Array) => wanted.every((byte, index) => content[16 + index] === byte);
  return {
    nowMs: () => performance.now(),
    send: ({ number, payload, packetBytes }) => {
      container.sendEcho({ target, sequence: (first + number) & 0xff_ff, payload, packetBytes });
      return undefined;
    },
    receive: () => {
      const messages = container.receive(MOST_EVENTS);
      return {
        replies: messages.flatMap(({ source, icmpType, content }) =>
          icmpType === ECHO_REPLY && source === target ? [{ payload: content, atMs: performance.now() }] : [],
        ),
        errors: messages.flatMap(({ source, icmpType, icmpCode, content }) =>
          icmpType !== ECHO_REPLY && isAboutOurs(content)
            ? [`${source} says: ${errorWords(target, icmpType, icmpCode)}`]
            : [],
        ),
      };
    },
    [Symbol.dispose]: () => undefined,
  };
}

const unreachables: readonly string[] = [
  "network unreachable",
  "host unreachable",
  "protocol unreachable",
  "port unreachable",
  "too big",
];

/** Codes of ICMP's type 3 (RFC 792, RFC 1812). */
function unreachableWords(code: number): string {
  const isForbidden = code >= 9 && code <= 13;
  return unreachables[code] ?? (isForbidden ? "forbidden by a firewall" : `unreachable (code ${code})`);
}

function errorWords(target: Address, type: number, code: number): string {
  if (familyOf(target) === 4) {
    if (type === 3) return unreachableWords(code);
    return type === 11 ? "it went in a circle (TTL exceeded)" : `ICMP type ${type} code ${code}`;
  }
  if (type === 1) {
    if (code === 1) return "forbidden by a firewall";
    return code === 3 ? "host unreachable" : `unreachable (code ${code})`;
  }
  return type === 3 ? "it went in a circle (hop limit exceeded)" : `ICMPv6 type ${type} code ${code}`;
}
