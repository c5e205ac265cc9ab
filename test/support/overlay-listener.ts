// A host of the overlay that only looks: takes datagrams on the udp backend's port and tells, when its input ends, how
// many came for each subnet (the third number of the inner destination), as JSON.
//   node overlay-listener.ts ADDRESS
import { createSocket } from "node:dgram";

const counts: Record<string, number> = {};
const socket = createSocket({ type: "udp4", recvBufferSize: 4 << 20 });
socket.on("message", (packet) => {
  const third = String(packet[18]);
  counts[third] = (counts[third] ?? 0) + 1;
});
socket.bind(8285, process.argv[2], () => console.error("ready"));
process.stdin.on("end", () => {
  console.log(JSON.stringify(counts));
  process.exit(0);
});
process.stdin.resume();
