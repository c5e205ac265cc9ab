import { expect, test } from "vitest";
import { addressToBytes, parseAddress } from "../../../ip/address.ts";
import type { TappedPacket } from "../../../sys/packet-tap.ts";
import { SeenPackets, UNSEEN_PACKETS } from "./seen-packets.ts";
import type { TestPackets } from "./wire.ts";

const outside = parseAddress("192.168.50.12");
const token = Uint8Array.from({ length: 16 }, (_, at) => 200 - at);
const ofTest: TestPackets = { family: 4, token, tokenOffset: 4, packetBytes: 400, outside };

/** From the header of IPv4 on. */
function packetOf(protocol: number, content: readonly number[], packetBytes: number): TappedPacket {
  const header = [0x45, ...new Array<number>(8).fill(0), protocol, 0, 0, 10, 0, 0, 1, ...addressToBytes(outside)];
  return { deviceIndex: 1, isOutgoing: true, packetBytes, bytes: Uint8Array.from([...header, ...content]) };
}

const ours = packetOf(1, [8, 0, 0, 0, 0, 7, 0, 9, 1, 2, 3, 4, ...token, 0], 400);
const stranger = packetOf(6, [1, 2, 3], 400);
const encrypted = packetOf(50, [1, 2, 3, 4], 440);

function tapOf(queue: TappedPacket[]) {
  return { receive: (most: number) => queue.splice(0, most) };
}

test("packets of others that have the same size do not hide those of the test", () => {
  const gaps: string[] = [];
  const seen = new SeenPackets(tapOf([...new Array<TappedPacket>(20_000).fill(stranger), ours]), ofTest, gaps);
  for (let look = 0; look < 6; look++) seen.look();
  expect(seen.packets).toEqual([ours]);
  expect(gaps).toEqual([]);
});

test("more than can be kept is said once, as packets that are not seen", () => {
  const gaps: string[] = [];
  const seen = new SeenPackets(tapOf(new Array<TappedPacket>(20_000).fill(encrypted)), ofTest, gaps);
  for (let look = 0; look < 6; look++) seen.look();
  expect(seen.packets).toHaveLength(4_096);
  expect(gaps).toEqual([expect.stringContaining(UNSEEN_PACKETS)]);
});
