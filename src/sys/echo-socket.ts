// ICMP and ICMPv6 echo: sends requests in batches and takes what comes for them: replies, errors that quote a request, and
// requests of other agents. One socket for each family. Nothing in it waits; whoever owns it asks now and then. What is taken
// was written by others: who asks has to compare it with what he sent.
import { randomInt } from "node:crypto";
import { type Address, addressFromBytes, type Family } from "../ip/address.ts";
import { echoFilter, echoTypes, INSTRUCTION_BYTES } from "./echo-filter.ts";
import { BATCH, EchoMemory, HEAD_BYTES } from "./echo-memory.ts";
import {
  CMSG_HEADER_BYTES,
  type EchoRequest,
  ICMP_HEADER_BYTES,
  IPPROTO_IP,
  IPPROTO_IPV6,
  ipHeaderBytes,
  writeEcho,
} from "./echo-request.ts";
import { errnoName, errnos, hasErrno } from "./errno.ts";
import type { Fd } from "./fd.ts";
import { clockGettime, getsockname, recvmmsg, sendmmsg, setsockopt, settled } from "./libc.ts";
import { MSG_DONTWAIT, MSG_TRUNC, mmsghdr } from "./message-header.ts";
import { bindSocket, openSocket, SOCK_DGRAM, SOCK_RAW, SOL_SOCKET, setBufferBytes, trySetOption } from "./socket.ts";
import { AF_INET, AF_INET6 } from "./socket-address.ts";

// linux/in.h, in6.h, icmp.h, socket.h, errqueue.h
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const IP_MTU_DISCOVER = 10;
const IP_RECVERR = 11;
const IPV6_MTU_DISCOVER = 23;
const IPV6_RECVERR = 25;
const IPV6_DONTFRAG = 62;
/** Sets DF, and leaves what the kernel believes of the path out of account. */
const PMTUDISC_PROBE = 3;
const SO_ATTACH_FILTER = 26;
const SO_TIMESTAMPNS = 35;
const MSG_ERRQUEUE = 0x2000;
const CLOCK_REALTIME = 0;
const ORIGIN_LOCAL = 1;
const RECEIVE_BUFFER_BYTES = 512 * 1024;

/** Undefined: it left; else the name of the errno. `EMSGSIZE`: larger than the MTU of the device or the route. */
export type EchoSent = string | undefined;

export type EchoEvent =
  | {
      readonly type: "reply";
      readonly source: Address;
      readonly sequence: number;
      readonly payload: Uint8Array;
      readonly packetBytes: number;
      /** On the wall clock, when the kernel received it, in ms. */
      readonly receivedAtMs: number;
    }
  | { readonly type: "request"; readonly source: Address; readonly payload: Uint8Array }
  | {
      readonly type: "error";
      readonly sequence: number;
      /** Of the request that the error quotes. */
      readonly payload: Uint8Array;
      /** Whom the request was for. */
      readonly target: Address;
      readonly origin: "local" | "network";
      readonly icmpType: number;
      readonly icmpCode: number;
      /** Of "too big": the MTU it tells. */
      readonly mtuBytes: number;
      /** Who sent the error. */
      readonly offender?: Address;
    };

export class EchoSocket implements Disposable {
  readonly family: Family;
  /** Whether requests of other agents are seen. */
  readonly hearsRequests: boolean;
  readonly #fd: Fd;
  readonly #identifier: number;
  readonly #memory = new EchoMemory();

  private constructor(family: Family, fd: Fd, identifier: number, hearsRequests: boolean) {
    this.family = family;
    this.#fd = fd;
    this.#identifier = identifier;
    this.hearsRequests = hearsRequests;
  }

  /**
   * In the network namespace of the calling thread. `mark`: with which the payload of other agents' requests begins. Without
   * CAP_NET_RAW an unprivileged socket is tried (net.ipv4.ping_group_range), which sees replies alone. Throws `KERNEL_DENIED`
   * when neither is allowed, `KERNEL_UNSUPPORTED` without the family.
   */
  static open(family: Family, mark: number): EchoSocket {
    const [domain, protocol] = family === 4 ? [AF_INET, IPPROTO_ICMP] : [AF_INET6, IPPROTO_ICMPV6];
    const purpose = `ICMP socket of IPv${family}`;
    let socket: EchoSocket;
    try {
      const identifier = randomInt(1, 0x1_0000);
      socket = new EchoSocket(family, openSocket(purpose, domain, SOCK_RAW, protocol), identifier, true);
      socket.#attachFilter(echoFilter(family, identifier, mark));
    } catch (error) {
      if (!hasErrno(error, "EPERM")) throw error;
      const fd = openSocket(purpose, domain, SOCK_DGRAM, protocol);
      // The kernel gives it an identifier of its own.
      bindSocket(purpose, fd, anyAddress(family));
      socket = new EchoSocket(family, fd, localIdentifier(fd), false);
    }
    socket.#setOptions();
    return socket;
  }

  /** The wall clock, in ms with fractions, as `receivedAtMs` has it. */
  nowMs(): number {
    const { scratch, view } = this.#memory;
    clockGettime(CLOCK_REALTIME, this.#memory.address(scratch));
    return timespecMs(view, scratch);
  }

  /** One outcome for each request, in their order. */
  send(requests: readonly EchoRequest[]): EchoSent[] {
    const sent: EchoSent[] = [];
    while (sent.length < requests.length) {
      const batch = requests.slice(sent.length, sent.length + BATCH);
      for (const [slot, request] of batch.entries()) {
        writeEcho(this.#memory, slot, this.family, this.#identifier, request);
      }
      sent.push(...this.#sendBatch(batch.length));
    }
    return sent;
  }

  /** At most `most` messages, in the order they came, then errors; fewer when there are no more. */
  receive(most: number): EchoEvent[] {
    return [...this.#take(0, most), ...this.#take(MSG_ERRQUEUE, most)];
  }

  /** Messages, or with MSG_ERRQUEUE errors. */
  #take(flags: number, most: number): EchoEvent[] {
    const events: EchoEvent[] = [];
    for (let taken = 0; taken < most; ) {
      const count = this.#receiveBatch(flags);
      if (count <= 0) break;
      taken += count;
      for (let slot = 0; slot < count; slot++) {
        const event = flags === 0 ? this.#readMessage(slot) : this.#readError(slot);
        if (event !== undefined) events.push(event);
      }
    }
    return events;
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }

  #setOptions(): void {
    const fd = this.#fd;
    trySetOption(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
    setBufferBytes(fd, "receive", RECEIVE_BUFFER_BYTES);
    if (this.family === 4) {
      trySetOption(fd, IPPROTO_IP, IP_RECVERR, 1);
      trySetOption(fd, IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE);
    } else {
      trySetOption(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
      trySetOption(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE);
      trySetOption(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
    }
  }

  #attachFilter(filter: Uint8Array): void {
    const { u8, scratch } = this.#memory;
    u8.set(filter, scratch);
    const program = new Int32Array(4);
    const view = new DataView(program.buffer);
    view.setUint16(0, filter.length / INSTRUCTION_BYTES, true);
    view.setBigUint64(8, BigInt(this.#memory.address(scratch)), true);
    // Without the filter the socket sees more than it has to, all of which is compared anyway.
    setsockopt(this.#fd.number, SOL_SOCKET, SO_ATTACH_FILTER, program, 16);
  }

  #sendBatch(count: number): EchoSent[] {
    const sent: EchoSent[] = [];
    while (sent.length < count) {
      const first = this.#memory.address(this.#memory.header(sent.length));
      const left = count - sent.length;
      // An ICMP error that came for an earlier request fails the next call once: then the repeated one tells.
      const call = (): number => sendmmsg(this.#fd.number, first, left, MSG_DONTWAIT);
      const result = settled(call(), [errnos.EAGAIN], call);
      if (result <= 0) sent.push(errnoName(-result));
      else for (let done = 0; done < result; done++) sent.push(undefined);
    }
    return sent;
  }

  #receiveBatch(flags: number): number {
    for (let slot = 0; slot < BATCH; slot++) this.#memory.describeIncoming(slot);
    const messages = this.#memory.address(this.#memory.messages);
    const call = (): number => recvmmsg(this.#fd.number, messages, BATCH, MSG_DONTWAIT | MSG_TRUNC | flags, 0);
    return settled(call(), [errnos.EAGAIN], call);
  }

  #readMessage(slot: number): EchoEvent | undefined {
    const { u8, view } = this.#memory;
    const isRawIpv4 = this.family === 4 && this.hearsRequests;
    const start = this.#memory.head(slot);
    const offset = isRawIpv4 ? ((u8[start] ?? 0) & 0xf) * 4 : 0;
    const bytes = view.getUint32(this.#memory.header(slot) + mmsghdr.bytes, true) - offset;
    const message = start + offset;
    if (bytes < HEAD_BYTES) return undefined;
    const source = this.#readName(this.#memory.name(slot));
    const payload = u8.slice(message + ICMP_HEADER_BYTES, message + HEAD_BYTES);
    if (source === undefined) return undefined;
    const types = echoTypes(this.family);
    if (u8[message] === types.request) return { type: "request", source, payload };
    if (u8[message] !== types.reply || view.getUint16(message + 4) !== this.#identifier) return undefined;
    return {
      type: "reply",
      source,
      sequence: view.getUint16(message + 6),
      payload,
      packetBytes: bytes + ipHeaderBytes(this.family),
      receivedAtMs: this.#timestampMs(slot) ?? this.nowMs(),
    };
  }

  /** struct sock_extended_err {errno, origin, type, code, pad, info, data}, then the sender of the error. */
  #readError(slot: number): EchoEvent | undefined {
    const { u8, view } = this.#memory;
    const [level, type] = this.family === 4 ? [IPPROTO_IP, IP_RECVERR] : [IPPROTO_IPV6, IPV6_RECVERR];
    const at = this.#findControl(slot, level, type);
    const target = this.#readName(this.#memory.name(slot));
    if (at === undefined || target === undefined) return undefined;
    const message = this.#memory.head(slot);
    const bytes = view.getUint32(this.#memory.header(slot) + mmsghdr.bytes, true);
    if (bytes < HEAD_BYTES || u8[message] !== echoTypes(this.family).request) return undefined;
    if (view.getUint16(message + 4) !== this.#identifier) return undefined;
    const origin = u8[at + 4];
    const offender = this.#readName(at + 16);
    return {
      type: "error",
      sequence: view.getUint16(message + 6),
      payload: u8.slice(message + ICMP_HEADER_BYTES, message + HEAD_BYTES),
      target,
      origin: origin === ORIGIN_LOCAL ? "local" : "network",
      icmpType: u8[at + 5] ?? 0,
      icmpCode: u8[at + 6] ?? 0,
      mtuBytes: view.getUint32(at + 8, true),
      ...(offender !== undefined && { offender }),
    };
  }

  #timestampMs(slot: number): number | undefined {
    const at = this.#findControl(slot, SOL_SOCKET, SO_TIMESTAMPNS);
    return at === undefined ? undefined : timespecMs(this.#memory.view, at);
  }

  /** Where the data of a control message is. */
  #findControl(slot: number, level: number, type: number): number | undefined {
    const { view } = this.#memory;
    const start = this.#memory.control(slot);
    const end = start + Number(view.getBigUint64(this.#memory.header(slot) + mmsghdr.controlLength, true));
    for (let at = start; at + CMSG_HEADER_BYTES <= end; ) {
      const length = Number(view.getBigUint64(at, true));
      if (length < CMSG_HEADER_BYTES) return undefined;
      if (view.getInt32(at + 8, true) === level && view.getInt32(at + 12, true) === type) return at + CMSG_HEADER_BYTES;
      at += Math.ceil(length / 8) * 8;
    }
    return undefined;
  }

  /** Of a struct sockaddr_in or sockaddr_in6; undefined for anything else. */
  #readName(at: number): Address | undefined {
    const family = this.#memory.view.getUint16(at, true);
    if (family === AF_INET) return addressFromBytes(this.#memory.u8.subarray(at + 4, at + 8));
    return family === AF_INET6 ? addressFromBytes(this.#memory.u8.subarray(at + 8, at + 24)) : undefined;
  }
}

function timespecMs(view: DataView, at: number): number {
  return Number(view.getBigInt64(at, true)) * 1_000 + Number(view.getBigInt64(at + 8, true)) / 1_000_000;
}

function anyAddress(family: Family): Uint8Array {
  const bytes = new Uint8Array(family === 4 ? 16 : 28);
  new DataView(bytes.buffer).setUint16(0, family === 4 ? AF_INET : AF_INET6, true);
  return bytes;
}

/** An unprivileged socket's identifier stands where others have their port. */
function localIdentifier(fd: Fd): number {
  const name = new Uint8Array(28);
  getsockname(fd.number, name, Uint32Array.of(name.length));
  return new DataView(name.buffer).getUint16(2);
}
