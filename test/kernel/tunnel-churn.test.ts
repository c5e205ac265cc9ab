// Peers come and go thousands of times, as fast as it goes (a quiet machine: well over 1,000 a second), while packets flow: each packet goes to the host whose subnet it is for,
// and to nobody else.
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { Tunnel } from "../../src/tunnel/tunnel.ts";
import type { TunnelPeer } from "../../src/tunnel/tunnel-state.ts";
import { recordingLogger } from "../support/host-fixture.ts";

const resources = new AsyncDisposableStack();
afterEach(() => resources.disposeAsync());

const peer = (third: number, host: string): TunnelPeer => ({
  key: `10.5.${third}.0-24`,
  subnet: parsePrefix(`10.5.${third}.0/24`),
  publicIp: parseAddress(host),
});

/** A host of the overlay: counts packets by the third number of their inner destination. */
async function openHost(address: string): Promise<Map<number, number>> {
  const counts = new Map<number, number>();
  const socket = createSocket({ type: "udp4", recvBufferSize: 4 << 20 });
  socket.on("message", (packet) => counts.set(packet[18] ?? 0, (counts.get(packet[18] ?? 0) ?? 0) + 1));
  socket.bind(8285, address);
  await once(socket, "listening");
  resources.defer(() => void socket.close());
  return counts;
}

function flood(socket: Socket, rounds: number): void {
  for (let round = 0; round < rounds; round++) for (const third of [2, 3]) socket.send("x", 9, `10.5.${third}.9`);
}

test("3,000 changes under load deliver nothing wrongly", async () => {
  const hosts = [await openHost("127.0.0.2"), await openHost("127.0.0.3")] as const;
  const tunnel = resources.use(new Tunnel({ logger: recordingLogger().logger, onChange: () => undefined }));
  const lasting = [peer(2, "127.0.0.2"), peer(3, "127.0.0.3")];
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
  await setPeers(lasting);
  resources.defer(async () => void (await box.tryRun(["ip", "link", "del", "dev", "flannel0"])));
  await box.ipBatch([
    "addr add 10.5.1.0/32 dev flannel0",
    "link set dev flannel0 up",
    "route add 10.5.0.0/16 dev flannel0",
  ]);
  const sender = createSocket("udp4");
  resources.defer(() => void sender.close());
  let changes = 0;
  while (changes < 3_000) {
    const passing = Array.from({ length: 10 + (changes % 90) }, (_, index) => peer(4 + index, `127.0.1.${1 + index}`));
    await setPeers(changes % 2 === 0 ? [...passing, ...lasting] : [...lasting, ...passing].toReversed());
    changes++;
    if (changes % 4 === 0) flood(sender, 10);
    if (changes % 10 === 0) await sleep(1);
  }
  await until(() => hosts.every((counts) => counts.size > 0), { what: "packets at both hosts" });
  expect([...hosts[0].keys()]).toEqual([2]);
  expect([...hosts[1].keys()]).toEqual([3]);
  expect(hosts[0].get(2)).toBeGreaterThan(1_000);
  const { dropped } = tunnel.status();
  expect(dropped).toMatchObject({ noRoute: 0, malformed: 0 });
});
