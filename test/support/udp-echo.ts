// Sends UDP datagrams of many sizes to an echo and checks every byte that comes back. Run inside a container:
//   node udp-echo.ts server PORT
//   node udp-echo.ts client ADDRESS PORT FIRST LAST     one datagram of each size; prints `N of M back, K wrong`
import { createSocket } from "node:dgram";

const MAX_TRIES = 10;
const [role, ...rest] = process.argv.slice(2);

function contents(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let index = 0; index < size; index++) bytes[index] = (index * 31 + size * 7) & 0xff;
  return bytes;
}

function serve(port: number): void {
  const family = rest[1] === "6" ? "udp6" : "udp4";
  const socket = createSocket({ type: family, recvBufferSize: 1 << 20 });
  socket.on("message", (message, from) => socket.send(message, from.port, from.address));
  socket.bind(port, () => console.log("ready"));
}

/** Up to 32 on their way at a time; one that is lost is sent again. */
function ask(address: string, port: number, first: number, last: number): void {
  const socket = createSocket({ type: address.includes(":") ? "udp6" : "udp4", recvBufferSize: 1 << 20 });
  const waiting = new Map<number, { tries: number; at: number }>();
  let next = first;
  let back = 0;
  let wrong = 0;
  const more = () => {
    while (waiting.size < 32 && next <= last) {
      waiting.set(next, { tries: 1, at: Date.now() });
      socket.send(contents(next++), port, address);
    }
    if (waiting.size > 0 || next <= last) return;
    console.log(`${back} of ${last - first + 1} back, ${wrong} wrong`);
    process.exit(0);
  };
  socket.on("message", (message) => {
    if (!waiting.delete(message.length)) return;
    back++;
    if (!message.equals(contents(message.length))) wrong++;
    more();
  });
  setInterval(() => {
    for (const [size, state] of waiting) {
      if (Date.now() - state.at < 500) continue;
      if (state.tries++ === MAX_TRIES) waiting.delete(size);
      else socket.send(contents(size), port, address);
      state.at = Date.now();
    }
    more();
  }, 50);
  more();
}

if (role === "server") serve(Number(rest[0]));
else ask(rest[0] ?? "", Number(rest[1]), Number(rest[2]), Number(rest[3]));
