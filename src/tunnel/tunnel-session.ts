// One run of the data plane: device, sockets and the thread that pumps packets between them. What cannot be changed
// while it runs (device, addresses, port, offloads) takes a new session.
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { describeError, hasCode } from "../errors.ts";
import { addressToBytes, familyOf, type Prefix, prefixAddress } from "../ip/address.ts";
import { openEventFd, signalEventFd } from "../sys/event-fd.ts";
import type { Fd } from "../sys/fd.ts";
import { setTunOffload, type TunOffload } from "../sys/tun-device.ts";
import { hasUdpSegmentation, openRawSocket, tryJoinReceived } from "../sys/udp-socket.ts";
import type { Counters } from "./counters.ts";
import type { ForwardingTable } from "./forwarding-table.ts";
import { type PacketThreadData, runPacketThread } from "./packet-thread.ts";
import { control } from "./pump.ts";
import { canOpenSocket, type MissingSocket, type SessionDescriptors } from "./tunnel-descriptors.ts";
import type { TunnelState } from "./tunnel-state.ts";

/** What is in use; the rest the kernel or the configuration refused. */
export interface TunnelFeatures {
  readonly deviceOffload: TunOffload;
  readonly udpSegmentation: boolean;
  readonly udpReceiveJoining: boolean;
}

/** What it opens by itself and closes at its end. */
interface OwnDescriptors extends Disposable {
  readonly raw4: Fd | undefined;
  readonly raw6: Fd | undefined;
  readonly wakeUp: Fd;
}

/** Everything but the peers: two states with equal keys can share a session. */
export function sessionKey(state: TunnelState): string {
  const { device, port, localIpv4, localIpv6, own, offload } = state;
  return JSON.stringify([device, port, localIpv4, localIpv6, own.subnet, own.ipv6Subnet, offload]);
}

export class TunnelSession implements AsyncDisposable {
  /** Settles when the thread has ended: with the reason, if nobody asked it to. */
  readonly ended: Promise<string | undefined>;
  readonly #own: OwnDescriptors;
  readonly #missing: MissingSocket | undefined;
  readonly #features: TunnelFeatures;
  readonly #control: Int32Array;
  readonly #tables: MessagePort;

  private constructor(
    { tun, udp4, udp6, missing }: SessionDescriptors,
    own: OwnDescriptors,
    features: TunnelFeatures,
    state: TunnelState,
    table: ForwardingTable,
    counters: Counters,
  ) {
    this.#own = own;
    this.#missing = missing;
    this.#features = features;
    const shared = new SharedArrayBuffer(control.words * 4);
    this.#control = new Int32Array(shared);
    this.#control[control.usesGso] = Number(features.udpSegmentation);
    const { port1, port2 } = new MessageChannel();
    this.#tables = port1;
    const threadData: PacketThreadData = {
      control: shared,
      counters: counters.buffer,
      table: table.buffer,
      features: {
        udpSegmentation: features.udpSegmentation,
        joinTcp: features.deviceOffload !== "none",
        joinUdp: features.deviceOffload === "tcp and udp",
      },
      tun: tun.number,
      udp4: udp4?.number ?? -1,
      udp6: udp6?.number ?? -1,
      raw4: own.raw4?.number ?? -1,
      raw6: own.raw6?.number ?? -1,
      wakeUp: own.wakeUp.number,
      source4: addressOfPrefix(state.own.subnet),
      source6: addressOfPrefix(state.own.ipv6Subnet),
      tables: port2,
    };
    this.ended = runPacketThread(threadData).finally(() => {
      port1.close();
      own[Symbol.dispose]();
    });
  }

  /** `descriptors` stay the caller's, who keeps them open until the session has ended. */
  static open(
    descriptors: SessionDescriptors,
    state: TunnelState,
    table: ForwardingTable,
    counters: Counters,
  ): TunnelSession {
    const { tun, udp4, udp6 } = descriptors;
    const sockets = [udp4, udp6].filter((socket) => socket !== undefined);
    const features = {
      deviceOffload: setTunOffload(tun, state.offload ? "tcp and udp" : "none"),
      udpSegmentation: state.offload && sockets.every(hasUdpSegmentation),
      udpReceiveJoining:
        sockets.map((socket) => tryJoinReceived(socket, state.offload)).every(Boolean) && state.offload,
    };
    const own = openOwn(udp4 !== undefined, udp6 !== undefined);
    try {
      return new TunnelSession(descriptors, own, features, state, table, counters);
    } catch (error) {
      own[Symbol.dispose](); // no thread could be started
      throw error;
    }
  }

  get features(): TunnelFeatures {
    return { ...this.#features, udpSegmentation: Atomics.load(this.#control, control.usesGso) === 1 };
  }

  /** What this session has to do without, and why. */
  get problem(): string | undefined {
    if (this.#missing === undefined) return undefined;
    const { address, error } = this.#missing;
    return `${familyOf(address) === 4 ? "IPv4" : "IPv6"} is not used: ${describeError(error)}`;
  }

  /** Whether a session begun now would have what this one lacks. */
  get isCurable(): boolean {
    return this.#missing !== undefined && canOpenSocket(this.#missing);
  }

  /** From the next batch on. Returns its generation; the first table is 0. */
  setTable(table: ForwardingTable): number {
    this.#tables.postMessage(table.buffer);
    const generation = Atomics.add(this.#control, control.tableGeneration, 1) + 1;
    this.#wake();
    return generation;
  }

  /** The generation that the pump has reached: older tables are no longer read. */
  get tableTaken(): number {
    return Atomics.load(this.#control, control.tableTaken);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    Atomics.store(this.#control, control.stop, 1);
    this.#wake();
    await this.ended;
  }

  #wake(): void {
    const { wakeUp } = this.#own;
    if (!wakeUp.isClosed) signalEventFd(wakeUp);
  }
}

/** Throws when the kernel refuses more than raw sockets. */
function openOwn(hasIpv4: boolean, hasIpv6: boolean): OwnDescriptors {
  const raw4 = hasIpv4 ? tryOpenRawSocket(4) : undefined;
  const raw6 = hasIpv6 ? tryOpenRawSocket(6) : undefined;
  const release = () => {
    for (const fd of [raw4, raw6]) fd?.[Symbol.dispose]();
  };
  try {
    const wakeUp = openEventFd();
    const releaseAll = () => {
      wakeUp[Symbol.dispose]();
      release();
    };
    return { raw4, raw6, wakeUp, [Symbol.dispose]: releaseAll };
  } catch (error) {
    release();
    throw error;
  }
}

function addressOfPrefix(prefix: Prefix | undefined): Uint8Array | undefined {
  return prefix === undefined ? undefined : addressToBytes(prefixAddress(prefix));
}

/** Without the right to raw sockets there are no ICMP errors, which packets flow without. */
function tryOpenRawSocket(family: 4 | 6): Fd | undefined {
  try {
    return openRawSocket(family);
  } catch (error) {
    if (hasCode(error, "KERNEL_DENIED", "KERNEL_UNSUPPORTED")) return undefined;
    throw error;
  }
}
