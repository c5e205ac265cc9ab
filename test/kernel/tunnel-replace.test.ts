// A session gives way to another, since the offloads were changed: what comes to the device and to the sockets meanwhile
// waits for the next one.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { Fd } from "../../src/sys/fd.ts";
import { fcntl } from "../../src/sys/libc.ts";
import { ServiceDescriptors } from "../../src/sys/service-descriptors.ts";
import { back, out, TunnelFixture } from "../support/tunnel-fixture.ts";

const REPLACEMENTS = 12;
const INTERVAL_MS = 3;
/**
 * What waits in the device's queue, which holds 500 packets, at most: on a busy machine a session may take seconds to
 * begin. The kernel's answers wait there, too.
 */
const MAX_WAITING = 150;

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
    while (!replaced.signal.aborted) {
      await sleep(INTERVAL_MS);
      receive();
      if (count.sent - count.arrived >= MAX_WAITING) continue;
      const family = count.sent % 2 === 0 ? 4 : 6;
      fixture.sendInside(out[family]);
      fixture.sendOutside(back[family], family);
      count.sent++;
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
    const { carried } = fixture.tunnel.status();
    expect([count.arrived, carried.receivedPackets], whereaboutsOfPackets(fixture)).toEqual([count.sent, count.sent]);
    return true;
  };
  await until(hasArrived, { what: "every packet to arrive" });
});

/** Which counter has the packets that are missing: ours, the device's, the sockets', the kernel's. */
function whereaboutsOfPackets({ tunnel, log }: TunnelFixture): string {
  const files = ["dev", "udp", "udp6", "snmp", "snmp6"].map((name) => readFileSync(`/proc/net/${name}`, "utf8"));
  return [JSON.stringify(tunnel.status()), ...log.lines.map(({ message }) => message), ...files].join("\n");
}

/** Keeps copies as a service manager does, and misses the first time it is told that one is not to be kept any more. */
class DeafStore extends ServiceDescriptors {
  readonly copies = new Map<string, Fd>();
  missed = 0;

  override keep(name: string, fd: Fd): void {
    const duplicate = 0; // F_DUPFD
    this.copies.set(name, new Fd(fcntl(fd.number, duplicate, 0)));
  }

  override forget(name: string): void {
    if (name.startsWith("tun-") && this.missed++ === 0) throw new Error("the service manager is busy");
    this.copies.get(name)?.[Symbol.dispose]();
    this.copies.delete(name);
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    for (const copy of this.copies.values()) copy[Symbol.dispose]();
  }
}

test("a service manager that missed a message does not keep the device busy", async () => {
  const descriptorStore = new DeafStore();
  await using fixture = await TunnelFixture.open({}, descriptorStore);
  expect([...descriptorStore.copies.keys()].map((name) => name.slice(0, 4)).sort()).toEqual(["tun-", "udp4", "udp6"]);
  await fixture.setState({ localIpv4: parseAddress("203.0.113.77"), localIpv6: parseAddress("fd00:77::1") });
  expect(descriptorStore.missed).toBe(1);
  await fixture.setState();
  await until(() => fixture.tunnel.status().features, { what: "the device to be had again" });
  // Again and again: the first may meet a route that is only being made.
  const carried = () => {
    fixture.sendInside(out[4]);
    if (fixture.atPeer(4) !== undefined) return true;
    throw new Error(whereaboutsOfPackets(fixture));
  };
  await until(carried, { what: "a packet to be carried" });
});
