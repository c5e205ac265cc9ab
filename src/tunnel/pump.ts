// The loop of the packet path: both directions in turn as long as there is something to do, then sleep until there is.
// While a socket is full the device is left alone, so that its queue fills and senders notice; receiving goes on.
// It never waits for the control plane, and looks once for each batch whether that wants anything.
import { errnos } from "../sys/errno.ts";
import { settled, writev } from "../sys/libc.ts";
import { Arena } from "./arena.ts";
import { Coalescer } from "./coalescer.ts";
import { Counters, counter } from "./counters.ts";
import { ForwardingTable } from "./forwarding-table.ts";
import { IcmpErrors } from "./icmp-errors.ts";
import { Inbound } from "./inbound.ts";
import { MessageBatch } from "./message-batch.ts";
import { DeviceLost, Outbound } from "./outbound.ts";
import { PacketWait } from "./packet-wait.ts";
import { PathMtus } from "./path-mtus.ts";

/** Words the two threads share beside the counters. */
export const control = { stop: 0, tableGeneration: 1, usesGso: 2, tableTaken: 3, words: 4 } as const;

export interface PumpFeatures {
  readonly udpSegmentation: boolean;
  readonly joinTcp: boolean;
  readonly joinUdp: boolean;
}

export interface PumpOptions {
  readonly control: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly table: SharedArrayBuffer;
  readonly features: PumpFeatures;
  /** Descriptors, owned by the caller; -1: none. */
  readonly tun: number;
  readonly udp4: number;
  readonly udp6: number;
  readonly raw4: number;
  readonly raw6: number;
  /** An eventfd the caller writes to when a control word has changed. */
  readonly wakeUp: number;
  /** Source of ICMP errors, in network order. */
  readonly source4: Uint8Array | undefined;
  readonly source6: Uint8Array | undefined;
  /** The table the caller has put there last; called when the generation has changed. */
  readonly takeTable: () => SharedArrayBuffer | undefined;
}

const EBADFD = 77;
/** The device is down. */
const expectedOfWrite = [errnos.EIO];

/** Returns when told to stop; throws DeviceLost when the TUN device is gone. */
export function runPump(options: PumpOptions): void {
  const arena = new Arena();
  const counters = new Counters(options.counters);
  const words = new Int32Array(options.control);
  const pathMtus = new PathMtus();
  const { features, tun, udp4, udp6 } = options;
  const icmp = new IcmpErrors({ ...options, arena, counters, ipv4: options.raw4, ipv6: options.raw6 });
  const table = new ForwardingTable(options.table);
  const sockets = { ipv4: udp4, ipv6: udp6 };
  const batch = new MessageBatch(arena, sockets, counters, pathMtus, table, features.udpSegmentation);
  const outbound = new Outbound({ arena, tun, batch, icmp, pathMtus, counters });
  const write = deviceWriter(arena, tun, counters);
  const coalescer = new Coalescer(arena, { tcp: features.joinTcp, udp: features.joinUdp }, write);
  const inbound = new Inbound({ arena, coalescer, icmp, counters }, table);
  const waiting = new PacketWait(arena, options);
  let generation = 0;
  /** A batch was full: there may be more everywhere. */
  let isBusy = false;
  while (Atomics.load(words, control.stop) === 0) {
    if (batch.isStuck) batch.send();
    const latest = Atomics.load(words, control.tableGeneration);
    // What is left in the batch belongs to peers of the table it was made with.
    if (latest !== generation && !batch.isStuck) {
      generation = latest;
      const buffer = options.takeTable();
      if (buffer !== undefined) {
        const next = new ForwardingTable(buffer);
        outbound.setTable(next);
        inbound.setTable(next);
      }
      // No table before this one is read again.
      Atomics.store(words, control.tableTaken, latest);
    }
    let hasMore = false;
    if (!batch.isStuck && (isBusy || waiting.tunIsReady)) hasMore = outbound.run();
    if (udp4 >= 0 && (isBusy || waiting.udp4IsReady)) hasMore = inbound.run(udp4, false) || hasMore;
    if (udp6 >= 0 && (isBusy || waiting.udp6IsReady)) hasMore = inbound.run(udp6, true) || hasMore;
    isBusy = hasMore;
    if (isBusy) continue;
    if (batch.isStuck) {
      waiting.waitForRoom(batch.fullSocket, batch.waitMs);
      continue;
    }
    Atomics.store(words, control.usesGso, batch.usesGso ? 1 : 0);
    waiting.wait(counters.carriedBytes(), counters.carriedPackets(), outbound.smallPackets);
  }
}

function deviceWriter(arena: Arena, tun: number, counters: Counters): (iovecs: number, count: number) => void {
  return (iovecs, count) => {
    let written = writev(tun, arena.base + iovecs, count);
    if (written < 0) written = settleWrite(written, tun, arena.base + iovecs, count);
    if (written >= 0) return;
    if (written === -EBADFD) throw new DeviceLost("write to the TUN device: the device no longer exists");
    // One iovec is the virtio header; each of the others belongs to a packet.
    counters.add(counter.deviceRefused, count - 1);
  };
}

/** Apart from the writer, so that it allocates nothing while writes succeed. */
function settleWrite(result: number, tun: number, iovecs: number, count: number): number {
  return settled(result, expectedOfWrite, () => writev(tun, iovecs, count));
}
