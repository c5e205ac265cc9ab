// A session gives way to another (the offloads or the subnet were changed, a missing socket can be had): what comes to the
// device and to the sockets meanwhile waits for the next one.
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { makePacket } from "../support/packets.ts";
import { inner, TunnelFixture } from "../support/tunnel-fixture.ts";

const REPLACEMENTS = 12;
/** The device's queue holds 500 packets, and a session may take 200 ms to begin where the cores are busy. */
const INTERVAL_MS = 3;

const content = { protocol: 17, payload: new Uint8Array(32) } as const;
const out = {
  4: makePacket({ source: inner.ours, destination: inner.theirs, ...content }),
  6: makePacket({ source: inner.ours6, destination: inner.theirs6, ...content }),
};
const back = {
  4: makePacket({ source: inner.theirs, destination: inner.ours, ...content }),
  6: makePacket({ source: inner.theirs6, destination: inner.ours6, ...content }),
};

test("no packet is lost while sessions are replaced", async () => {
  await using fixture = await TunnelFixture.open();
  const count = { sent: 0, arrived: 0 };
  // The kernel answers what comes back: nobody listens for it.
  const receive = () => {
    for (const family of [4, 6] as const) {
      for (let packet = fixture.atPeer(family); packet !== undefined; packet = fixture.atPeer(family)) {
        if (packet.length === out[family].length) count.arrived++;
      }
    }
  };
  const replaced = new AbortController();
  const sending = (async () => {
    for (; !replaced.signal.aborted; count.sent++) {
      const family = count.sent % 2 === 0 ? 4 : 6;
      fixture.sendInside(out[family]);
      fixture.sendOutside(back[family], family);
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
    const { receivedPackets } = fixture.tunnel.status().carried;
    expect([count.arrived, receivedPackets]).toEqual([count.sent, count.sent]);
    return true;
  };
  await until(hasArrived, { what: "every packet to arrive", timeoutMs: 5_000 });
});
