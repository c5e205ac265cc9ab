// The test packets that passed the devices of this host, within bounds; others of their size are not kept.
import type { PacketTap, TappedPacket } from "../../../sys/packet-tap.ts";
import { isTestPacket, type TestPackets } from "./wire.ts";

/** How the gap begins by which nothing can be said of packets on devices. */
export const UNSEEN_PACKETS = "packets on the devices are not seen";

const MAX_KEPT = 4_096;
/** In one look, so that packets of others do not keep it from its end. */
const MAX_READ = 4_096;

export class SeenPackets {
  readonly packets: TappedPacket[] = [];
  readonly #tap: Pick<PacketTap, "receive"> | undefined;
  readonly #test: TestPackets;
  readonly #gaps: string[];

  /** `gaps` is added to when there are more than can be kept. The tap stays the caller's. */
  constructor(tap: Pick<PacketTap, "receive"> | undefined, test: TestPackets, gaps: string[]) {
    this.#tap = tap;
    this.#test = test;
    this.#gaps = gaps;
  }

  look(): void {
    const isFull = this.packets.length === MAX_KEPT;
    if (this.#tap === undefined || isFull) return;
    const ours = this.#tap.receive(MAX_READ).filter((packet) => isTestPacket(packet, this.#test));
    this.packets.push(...ours.slice(0, MAX_KEPT - this.packets.length));
    if (this.packets.length < MAX_KEPT) return;
    this.#gaps.push(`${UNSEEN_PACKETS}: more than ${MAX_KEPT - 1} look like those of the test`);
  }
}
