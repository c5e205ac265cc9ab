// Floods a host's UDP port with damaged packets, as fast as asked for. Run inside a host's namespace:
//   node hostile-sender.ts LOCAL-IP TARGET-IP COUNT PER-SECOND SEED SOURCE DESTINATION   prints how many were sent
// SOURCE and DESTINATION are the inner addresses of the packets before they are damaged.
import { setTimeout as sleep } from "node:timers/promises";
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { openUdpSocket } from "../../src/sys/udp-socket.ts";
import { Arena } from "../../src/tunnel/arena.ts";
import { Counters } from "../../src/tunnel/counters.ts";
import { ForwardingTable } from "../../src/tunnel/forwarding-table.ts";
import { MessageBatch } from "../../src/tunnel/message-batch.ts";
import { PathMtus } from "../../src/tunnel/path-mtus.ts";
import { DamagedPackets } from "./damaged-packets.ts";

const PORT = 8285;
const BATCH = 64;
const SLOT_BYTES = 2_048;

const [local = "", target = "", countText, perSecondText, seedText, source = "", destination = ""] =
  process.argv.slice(2);
const [count, perSecond, seed] = [countText, perSecondText, seedText].map(Number) as [number, number, number];
const ends = (ipv4: string) => ({ v4: ipv4.split(".").map(Number), v6: [] });

const arena = new Arena();
const counters = new Counters();
const peer = { key: "target", subnet: parsePrefix("0.0.0.0/0"), publicIp: parseAddress(target) };
const state = { device: "", port: PORT, own: {}, peers: [peer], checkSource: false, offload: false };
const table = ForwardingTable.build(state, () => 0);
using socket = openUdpSocket(parseAddress(local), 0, 4 << 20);
const sockets = { ipv4: socket.number, ipv6: -1 };
const batch = new MessageBatch(arena, sockets, counters, new PathMtus(), table, false);
const packets = new DamagedPackets(seed, ends(source), ends(destination), ["v4"]);
const startedMs = performance.now();
for (let made = 0; made < count; made += BATCH) {
  for (let index = 0; index < BATCH; index++) {
    const at = arena.txPackets + index * SLOT_BYTES;
    batch.add(0, false, at, packets.write(arena.u8, at), 0, 0);
  }
  batch.flush();
  const aheadMs = ((made + BATCH) / perSecond) * 1_000 - (performance.now() - startedMs);
  if (aheadMs > 2) await sleep(aheadMs);
}
console.log(counters.byName().carried.sentPackets);
