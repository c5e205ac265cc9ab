// One run of the data plane: device, sockets and the thread that pumps packets between them. What cannot be changed
// while it runs (device, addresses, port, offloads) takes a new session.
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { describeError, hasCode } from "../errors.ts";
import { type Address, addressToBytes, familyOf, type Prefix, prefixAddress } from "../ip/address.ts";
import { openEventFd, signalEventFd } from "../sys/event-fd.ts";
import type { Fd } from "../sys/fd.ts";
import { setTunOffload, type TunOffload } from "../sys/tun-device.ts";
import { hasUdpSegmentation, openRawSocket, openUdpSocket, tryJoinReceived } from "../sys/udp-socket.ts";
import type { Counters } from "./counters.ts";
import type { ForwardingTable } from "./forwarding-table.ts";
import { type PacketThreadData, runPacketThread } from "./packet-thread.ts";
import { control } from "./pump.ts";
import type { TunnelState } from "./tunnel-state.ts";

/** Capped by net.core.rmem_max for those who are not root. */
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
/** The kernel doubles it. Room for one batch: what is beyond stands in the device's queue, as with a network card. */
const SEND_BUFFER_BYTES = 512 * 1024;

/** What is in use; the rest the kernel or the configuration refused. */
export interface TunnelFeatures {
  readonly deviceOffload: TunOffload;
  readonly udpSegmentation: boolean;
  readonly udpReceiveJoining: boolean;
}

interface Descriptors extends Disposable {
  readonly tun: Fd;
  readonly udp4: Fd | undefined;
  readonly udp6: Fd | undefined;
  readonly raw4: Fd | undefined;
  readonly raw6: Fd | undefined;
  readonly wakeUp: Fd;
}

/** A UDP socket that was wanted and could not be had. */
interface MissingSocket {
  readonly address: Address;
  readonly port: number;
  readonly error: unknown;
}

/** Everything but the peers: two states with equal keys can share a session. */
export function sessionKey(state: TunnelState): string {
  const { device, port, localIpv4, localIpv6, own, offload } = state;
  return JSON.stringify([device, port, localIpv4, localIpv6, own.subnet, own.ipv6Subnet, offload]);
}

export class TunnelSession implements AsyncDisposable {
  /** Settles when the thread has ended: with the reason, if nobody asked it to. */
  readonly ended: Promise<string | undefined>;
  readonly #descriptors: Descriptors;
  readonly #features: TunnelFeatures;
  readonly #control: Int32Array;
  readonly #tables: MessagePort;
  #missing: MissingSocket | undefined;

  private constructor(
    descriptors: Descriptors,
    features: TunnelFeatures,
    state: TunnelState,
    table: ForwardingTable,
    counters: Counters,
  ) {
    this.#descriptors = descriptors;
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
      tun: descriptors.tun.number,
      udp4: descriptors.udp4?.number ?? -1,
      udp6: descriptors.udp6?.number ?? -1,
      raw4: descriptors.raw4?.number ?? -1,
      raw6: descriptors.raw6?.number ?? -1,
      wakeUp: descriptors.wakeUp.number,
      source4: addressOfPrefix(state.own.subnet),
      source6: addressOfPrefix(state.own.ipv6Subnet),
      tables: port2,
    };
    this.ended = runPacketThread(threadData).finally(() => {
      port1.close();
      descriptors[Symbol.dispose]();
    });
  }

  /**
   * Throws when no socket can be had; with the socket of one family, the other goes without. The device is the caller's,
   * to be kept open until the session has ended.
   */
  static open(tun: Fd, state: TunnelState, table: ForwardingTable, counters: Counters): TunnelSession {
    const owned: Disposable[] = [];
    const own = <T extends Disposable | undefined>(resource: T): T => {
      if (resource !== undefined) owned.push(resource);
      return resource;
    };
    const release = () => {
      for (const resource of owned.toReversed()) resource[Symbol.dispose]();
    };
    try {
      const deviceOffload = setTunOffload(tun, state.offload ? "tcp and udp" : "none");
      const { localIpv4, localIpv6, port } = state;
      const missing: MissingSocket[] = [];
      const udp4 = localIpv4 && own(tryOpenSocket(localIpv4, port, missing));
      const udp6 = localIpv6 && own(tryOpenSocket(localIpv6, port, missing));
      const sockets = [udp4, udp6].filter((socket) => socket !== undefined);
      if (missing[0] !== undefined && sockets.length === 0) throw missing[0].error;
      const features = {
        deviceOffload,
        udpSegmentation: state.offload && sockets.every(hasUdpSegmentation),
        udpReceiveJoining: state.offload && sockets.map(tryJoinReceived).every(Boolean),
      };
      const raw4 = own(udp4 && tryOpenRawSocket(4));
      const raw6 = own(udp6 && tryOpenRawSocket(6));
      const wakeUp = own(openEventFd());
      const descriptors = { tun, udp4, udp6, raw4, raw6, wakeUp, [Symbol.dispose]: release };
      const session = new TunnelSession(descriptors, features, state, table, counters);
      session.#missing = missing[0];
      return session;
    } catch (error) {
      release();
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
    return `${familyOf(address) === 4 ? "IPv4" : "IPv6"} is left out: ${describeError(error)}`;
  }

  /** Whether a session begun now would have what this one lacks. */
  get isCurable(): boolean {
    if (this.#missing === undefined) return false;
    try {
      using _socket = openSocket(this.#missing.address, this.#missing.port);
      return true;
    } catch {
      return false;
    }
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
    const { wakeUp } = this.#descriptors;
    if (!wakeUp.isClosed) signalEventFd(wakeUp);
  }
}

function openSocket(address: Address, port: number): Fd {
  return openUdpSocket(address, port, RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES);
}

function tryOpenSocket(address: Address, port: number, missing: MissingSocket[]): Fd | undefined {
  try {
    return openSocket(address, port);
  } catch (error) {
    missing.push({ address, port, error });
    return undefined;
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
    if (hasCode(error, "kernel.denied", "kernel.unsupported")) return undefined;
    throw error;
  }
}
