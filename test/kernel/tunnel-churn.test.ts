// Peers come and go by more than a thousand a second while packets flow both ways: each packet goes to the host whose
// subnet it is for, and to nobody else; none is taken from the wrong host.
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { ServiceDescriptors } from "../../src/sys/service-descriptors.ts";
import { Tunnel } from "../../src/tunnel/tunnel.ts";
import type { TunnelPeer } from "../../src/tunnel/tunnel-state.ts";
import { recordingLogger } from "../support/host-fixture.ts";
import { makePacket } from "../support/packets.ts";

const SECONDS = 4;
const WANTED_PER_SECOND = 1_000;
/** Third numbers of the subnets of those who stay, and of those who come and go. Even ones are host 0's, odd ones host 1's. */
const lasting = [2, 3];
const passing = Array.from({ length: 96 }, (_, index) => 4 + index);
const hostAddresses = ["127.0.0.2", "127.0.0.3"] as const;

let resources: AsyncDisposableStack;
beforeEach(() => {
  resources = new AsyncDisposableStack();
});
afterEach(() => resources.disposeAsync());

const peer = (third: number): TunnelPeer => ({
  key: `10.5.${third}.0-24`,
  subnet: parsePrefix(`10.5.${third}.0/24`),
  publicIp: parseAddress(hostAddresses[third % 2] ?? ""),
});

interface Host {
  readonly socket: Socket;
  /** Packets by the third number of their inner destination. */
  readonly counts: Map<number, number>;
}

async function openHost(address: string): Promise<Host> {
  const counts = new Map<number, number>();
  const socket = createSocket({ type: "udp4", recvBufferSize: 4 << 20 });
  socket.on("message", (packet) => counts.set(packet[18] ?? 0, (counts.get(packet[18] ?? 0) ?? 0) + 1));
  socket.bind(8285, address);
  await once(socket, "listening");
  resources.defer(() => void socket.close());
  return { socket, counts };
}

/** What a host sends to us: `third` is where the packet says it comes from. */
const fromSubnet = (third: number) =>
  makePacket({ source: [10, 5, third, 9], destination: [10, 5, 1, 9], protocol: 17, payload: new Uint8Array(20) });

/** The data plane with nobody in it, and how to change who is. */
async function openTunnel() {
  const descriptorStore = resources.use(new ServiceDescriptors());
  const tunnel = resources.use(
    new Tunnel({ logger: recordingLogger().logger, descriptorStore, onChange: () => undefined }),
  );
  const setPeers = (peers: readonly TunnelPeer[]) =>
    tunnel.setState({
      device: "flannel0",
      port: 8285,
      localIpv4: parseAddress("127.0.0.1"),
      own: { subnet: parsePrefix("10.5.1.0/24") },
      peers,
      checkSource: true,
      offload: true,
    });
  await setPeers([]);
  resources.defer(async () => void (await box.tryRun(["ip", "link", "del", "dev", "flannel0"])));
  return { tunnel, setPeers };
}

test("hundreds of changes of a thousand peers need the memory of a few tables", async () => {
  const { setPeers } = await openTunnel();
  const peers = Array.from({ length: 1_000 }, (_, index) => ({
    key: String(index),
    subnet: parsePrefix(`10.${6 + (index >> 8)}.${index & 255}.0/24`),
    publicIp: parseAddress(`172.16.${index >> 8}.${index & 255}`),
  }));
  const bytes: number[] = [];
  for (let round = 0; round < 400; round++) {
    await setPeers(peers.slice(round % 7));
    await turn();
    bytes.push(process.memoryUsage().arrayBuffers);
  }
  // One table has 73 KB; 300 of them 22 MB.
  expect(Math.max(...bytes.slice(100)) - (bytes[100] ?? 0)).toBeLessThan(2e6);
});

test("over 1,000 changes a second under load deliver nothing wrongly", async () => {
  const hosts = [await openHost(hostAddresses[0]), await openHost(hostAddresses[1])] as const;
  const { tunnel, setPeers } = await openTunnel();
  await box.ipBatch([
    "addr add 10.5.1.0/32 dev flannel0",
    "link set dev flannel0 up",
    "route add 10.5.0.0/16 dev flannel0",
  ]);
  const sender = createSocket("udp4");
  resources.defer(() => void sender.close());

  let changed = 0;
  let forged = 0;
  let present = new Set<number>();
  const startedMs = performance.now();
  const seconds = () => (performance.now() - startedMs) / 1_000;
  for (let round = 0; seconds() < SECONDS; round++) {
    const next = new Set(passing.filter((third) => (third * 7 + round * 13) % 5 < 3));
    changed += passing.filter((third) => next.has(third) !== present.has(third)).length;
    present = next;
    const thirds = round % 2 === 0 ? [...next, ...lasting] : [...lasting, ...next].toReversed();
    await setPeers(thirds.map(peer));
    for (const third of [...lasting, ...passing]) sender.send("x", 9, `10.5.${third}.9`);
    for (const [index, { socket }] of hosts.entries()) {
      socket.send(fromSubnet(lasting[index] ?? 0), 8285, "127.0.0.1");
      socket.send(fromSubnet(lasting[1 - index] ?? 0), 8285, "127.0.0.1"); // the other host's
      forged++;
    }
    await turn();
    if (round % 20 === 0) await sleep(1);
  }
  const perSecond = changed / seconds();
  console.log(`${perSecond.toFixed(0)} peers a second came or went`);
  expect(perSecond, "the load this test is about").toBeGreaterThan(WANTED_PER_SECOND);

  await until(() => tunnel.status().dropped.foreignSource >= forged, { what: "every forged packet to be dropped" });
  const seen = hosts.map(({ counts }) => [...counts.keys()]);
  expect(seen[0]?.filter((third) => third % 2 !== 0)).toEqual([]);
  expect(seen[1]?.filter((third) => third % 2 !== 1)).toEqual([]);
  // Those who came and went got packets too, and those who stayed most of theirs.
  for (const thirds of seen) expect(thirds.length).toBeGreaterThan(40);
  for (const [index, { counts }] of hosts.entries())
    expect(counts.get(lasting[index] ?? 0)).toBeGreaterThan(forged / 4);
  const { dropped, carried } = tunnel.status();
  expect(dropped).toMatchObject({ malformed: 0, unknownSender: 0, foreignSource: forged, foreignDestination: 0 });
  expect(carried.receivedPackets).toBe(forged);
});
