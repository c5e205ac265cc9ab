// Damaged packets on both sides of a real device and real sockets: the data plane goes on, looks at each of them once,
// and carries whole ones afterwards as before.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { DamagedPackets } from "../support/damaged-packets.ts";
import { type DeviceSender, openDeviceSender } from "../support/device-sender.ts";
import { printReplayOnFailure, scaled, sliceSeeds } from "../support/fuzz.ts";
import { makePacket } from "../support/packets.ts";
import { inner, TunnelFixture } from "../support/tunnel-fixture.ts";

/** Of each slice. */
const ROUNDS = scaled(100_000, 1);
const BATCH = 200;
const ours = { v4: inner.ours, v6: inner.ours6 };
const theirs = { v4: inner.theirs, v6: inner.theirs6 };

let fixture: TunnelFixture;
let device: DeviceSender;
const resources = new AsyncDisposableStack();
beforeAll(async () => {
  fixture = resources.use(await TunnelFixture.open());
  device = resources.use(await openDeviceSender("flannel0"));
});
afterAll(() => resources.disposeAsync());

/** Packets the kernel has given to the device. */
async function givenToDevice(): Promise<number> {
  const [link] = await box.ipJson("-s", "link", "show", "dev", "flannel0");
  return (link as unknown as { stats64: { tx: { packets: number } } }).stats64.tx.packets;
}

/** Packets looked at and packets given to the device, at one moment: the kernel's own come at any time. */
async function bothCounts(): Promise<{ readonly seen: number; readonly given: number }> {
  return await until(
    async () => {
      const [seen, given] = [fixture.seen, await givenToDevice()];
      const isStill = (await givenToDevice()) === given && fixture.seen === seen;
      return isStill ? { seen, given } : undefined;
    },
    { what: "a moment without packets" },
  );
}

/** A whole packet each way. */
async function expectToWork(): Promise<void> {
  while (fixture.atPeer(4) !== undefined);
  const socket = createSocket("udp4");
  try {
    socket.bind(7_000, inner.ours.join("."));
    await once(socket, "listening");
    socket.send("there", 7_000, inner.theirs.join("."));
    const there = await until(() => fixture.atPeer(4), { what: "a packet at the peer" });
    expect(Buffer.from(there).subarray(-5).toString()).toBe("there");
    let said = "";
    socket.on("message", (message) => {
      said = String(message);
    });
    const back = makePacket({
      source: inner.theirs,
      destination: inner.ours,
      protocol: 17,
      payload: Buffer.from("back"),
    });
    back.set([7_000 >> 8, 7_000 & 255], 22);
    back.set([0, 0], 26); // no checksum
    // A datagram may be lost on a busy machine; the data plane must not be.
    let counted = fixture.datagramsSeen;
    const isBack = () => {
      fixture.sendOutside(back);
      counted++;
      return said === "back";
    };
    await until(isBack, { what: "a packet from the peer", intervalMs: 50 });
    await untilSeen(counted); // before others are
  } finally {
    socket.close();
  }
}

describe.each(sliceSeeds())("seed %i", (seed) => {
  beforeEach(() => printReplayOnFailure(seed));
  const buffer = new Uint8Array(4_096);

  test.each([
    ["peer", 4],
    ["peer", 6],
    ["stranger", 4],
    ["stranger", 6],
  ] as const)("datagrams from the %s by IPv%d", async (from, family) => {
    const packets = new DamagedPackets(seed, theirs, ours, [family === 4 ? "v4" : "v6"]);
    const before = fixture.datagramsSeen;
    let sent = 0;
    for (let round = 0; round < ROUNDS; round++) {
      fixture.sendOutside(buffer.subarray(0, packets.write(buffer, 0)), family, from);
      sent++;
      // Not more than the socket's queue holds.
      if (sent % BATCH === 0) await untilSeen(before + sent);
    }
    await untilSeen(before + sent);
    expect(fixture.datagramsSeen, "each counted once").toBe(before + sent);
    await expectToWork();
  });

  test("packets from the device", async () => {
    const packets = new DamagedPackets(seed, ours, theirs);
    const before = await bothCounts();
    for (let round = 0; round < ROUNDS; round++) {
      device.send(buffer.subarray(0, packets.write(buffer, 0)));
      if (round % BATCH === 0) await untilQueueEmpty();
    }
    await until(async () => fixture.seen === before.seen + (await givenToDevice()) - before.given, {
      what: "every packet to be counted once",
    });
    expect((await givenToDevice()) - before.given).toBeGreaterThan(ROUNDS * 0.9);
    await expectToWork();
  });

  test("large pieces from the device, with headers that lie about them", async () => {
    const packets = new DamagedPackets(seed, ours, theirs);
    const before = await givenToDevice();
    for (let round = 0; round < ROUNDS / 4; round++) {
      const length = packets.write(buffer, 0) + packets.random(2_000);
      const offload = {
        flags: packets.random(2),
        gsoType: [1, 4, 5][packets.random(3)] ?? 0,
        gsoSize: 1 + packets.random(1_500),
        checksumStart: packets.random(2) * 20 + 20,
        checksumOffset: [6, 16][packets.random(2)] ?? 6,
      };
      device.send(buffer.subarray(0, Math.min(length, buffer.length)), offload);
      if (round % BATCH === 0) await untilQueueEmpty();
    }
    expect((await givenToDevice()) - before, "the kernel let some through").toBeGreaterThan(ROUNDS / 100);
    await expectToWork();
  });
});

const untilSeen = (datagrams: number) =>
  until(() => fixture.datagramsSeen >= datagrams, { what: `${datagrams} datagrams to be looked at`, intervalMs: 1 });

/** A packet that is certainly counted, behind all others. */
async function untilQueueEmpty(): Promise<void> {
  const last = fixture.tunnel.status().dropped.noRoute;
  const nobodys = makePacket({ source: inner.ours, destination: inner.nobodys, protocol: 17, payload: buffer1 });
  device.send(nobodys);
  await until(() => fixture.tunnel.status().dropped.noRoute > last, { what: "the queue to be empty", intervalMs: 2 });
}

const buffer1 = new Uint8Array(1);
