// A session gives way to another (an address, the port or the offloads were changed): what the kernel hands to the
// device meanwhile waits for the next one.
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { makePacket } from "../support/packets.ts";
import { inner, TunnelFixture } from "../support/tunnel-fixture.ts";

const REPLACEMENTS = 12;
/** The device's queue holds 500 packets, and a session may take 200 ms to begin where the cores are busy. */
const INTERVAL_MS = 3;

const content = { protocol: 17, payload: new Uint8Array(32) } as const;
const packets = {
  4: makePacket({ source: inner.ours, destination: inner.theirs, ...content }),
  6: makePacket({ source: inner.ours6, destination: inner.theirs6, ...content }),
};

test("no packet for the device is lost while sessions are replaced", async () => {
  await using fixture = await TunnelFixture.open();
  const count = { sent: 0, arrived: 0 };
  const receive = () => {
    for (const family of [4, 6] as const) while (fixture.atPeer(family) !== undefined) count.arrived++;
  };
  const replaced = new AbortController();
  const sending = (async () => {
    for (; !replaced.signal.aborted; count.sent++) {
      fixture.sendInside(packets[count.sent % 2 === 0 ? 4 : 6]);
      await sleep(INTERVAL_MS);
      receive();
    }
  })();
  for (let replacement = 0; replacement < REPLACEMENTS; replacement++) {
    const { sentPackets } = fixture.tunnel.status().carried;
    await fixture.setState({ offload: replacement % 2 === 1 });
    await until(() => fixture.tunnel.status().carried.sentPackets > sentPackets, { what: "the next session to carry" });
  }
  replaced.abort();
  await sending;
  const hasArrived = () => {
    receive();
    expect(count.arrived).toBe(count.sent);
    return true;
  };
  await until(hasArrived, { what: "every packet to arrive", timeoutMs: 5_000 });
});
