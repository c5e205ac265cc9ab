// Packets that pass a device, as a packet socket sees them: IPv6's questions for neighbours, but not what is as large; and it tells
// when there were too many.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { afterAll, beforeAll, expect, it } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { isLinkQuestion } from "../../src/doctor/followed-echo.ts";
import { PacketTap, type TappedPacket } from "../../src/sys/packet-tap.ts";

beforeAll(async () => {
  const make = ["ip link add tap0 type veth peer name tap1", "ip link set tap0 up", "ip link set tap1 up"];
  await box.run(["sh", "-ec", [...make, "ip addr add fd00:77::1/64 dev tap0 nodad"].join("; ")]);
});

afterAll(async () => {
  await box.tryRun(["ip", "link", "del", "tap0"]);
});

it("sees questions for neighbours of IPv6, and nothing else of their size", async () => {
  using tap = PacketTap.withQuestions([100]);
  // 40 bytes of IPv6 and 8 of ICMPv6 around: as large as a question, and of the size that is looked for.
  await box.run(["sh", "-c", "ping -6 -c 1 -s 24 fd00:77::1; ping -6 -c 1 -s 52 fd00:77::1"]);
  const asking = box.tryRun(["ping", "-6", "-c", "1", "-W", "1", "fd00:77::2"]);
  const seen: TappedPacket[] = [];
  const questions = () => seen.filter(({ bytes, packetBytes }) => isLinkQuestion(bytes, packetBytes));
  await until(
    () => {
      seen.push(...tap.receive(1_000));
      return questions().length > 0;
    },
    { what: "the question" },
  );
  await asking;
  expect(questions().some(({ isOutgoing }) => isOutgoing)).toBe(true);
  expect(seen.filter(({ packetBytes }) => packetBytes === 100).length).toBeGreaterThan(0);
  expect(seen.filter((packet) => packet.packetBytes === 72 && !questions().includes(packet))).toEqual([]);
});

it("tells that it missed packets", async () => {
  using tap = PacketTap.open([1_028]);
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const send = (count: number) =>
    Promise.all(
      Array.from(
        { length: count },
        () =>
          new Promise<void>((resolve, reject) => {
            const sent = (error: Error | null) => (error === null ? resolve() : reject(error));
            socket.send(new Uint8Array(1_000), socket.address().port, "127.0.0.1", sent);
          }),
      ),
    );
  try {
    await send(10);
    expect([tap.missed(), tap.receive(100).length]).toEqual([0, 20]);
    await send(4_000);
    expect(tap.missed()).toBeGreaterThan(0);
    expect(tap.missed()).toBe(0);
  } finally {
    socket.close();
  }
});
