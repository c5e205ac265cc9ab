// TCP connections side by side, each with its own bytes in both directions at once, compared by hash. In containers:
//   node stream-check.ts server PORT
//   node stream-check.ts client ADDRESS PORT STREAMS BYTES     BYTES each way in each; prints `N of M unharmed`
import { createCipheriv, createHash } from "node:crypto";
import { connect, createServer, type Socket } from "node:net";
import { Readable } from "node:stream";

const CHUNK_BYTES = 65_536;
const HEADER_BYTES = 8;
const DIGEST_BYTES = 32;
const zeros = Buffer.alloc(CHUNK_BYTES);

/** Pseudo-random bytes, the same for the same seed. */
function* contents(seed: number, bytes: number): Generator<Buffer> {
  const key = Buffer.alloc(16);
  key.writeUInt32BE(seed);
  const cipher = createCipheriv("aes-128-ctr", key, Buffer.alloc(16));
  for (let left = bytes; left > 0; left -= CHUNK_BYTES)
    yield cipher.update(zeros.subarray(0, Math.min(left, CHUNK_BYTES)));
}

function digestOf(seed: number, bytes: number): Buffer {
  const hash = createHash("sha256");
  for (const chunk of contents(seed, bytes)) hash.update(chunk);
  return hash.digest();
}

/** Answers with its own contents at once, and with the digest of what came when all of it is there. */
function answer(socket: Socket): void {
  let header = Buffer.alloc(0);
  let left = -1;
  const hash = createHash("sha256");
  const all = Promise.withResolvers<Buffer>();
  const start = (seed: number, bytes: number) => {
    left = bytes;
    async function* reply() {
      yield* contents(seed + 1, bytes);
      yield await all.promise;
    }
    Readable.from(reply()).pipe(socket);
  };
  socket.on("error", () => undefined);
  socket.on("data", (data: Buffer) => {
    let rest = data;
    if (left < 0) {
      header = Buffer.concat([header, data]);
      if (header.length < HEADER_BYTES) return;
      start(header.readUInt32BE(0), header.readUInt32BE(4));
      rest = header.subarray(HEADER_BYTES);
    }
    hash.update(rest);
    left -= rest.length;
    if (left === 0) all.resolve(hash.digest());
  });
}

/** Whether both directions carried what was sent. */
function exchange(address: string, port: number, seed: number, bytes: number): Promise<boolean> {
  const socket = connect(port, address);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(seed, 0);
  header.writeUInt32BE(bytes, 4);
  const hash = createHash("sha256");
  let received = 0;
  const digest: Buffer[] = [];
  socket.on("data", (data: Buffer) => {
    const body = data.subarray(0, Math.max(0, bytes - received));
    hash.update(body);
    received += data.length;
    if (body.length < data.length) digest.push(data.subarray(body.length));
  });
  socket.write(header);
  Readable.from(contents(seed, bytes)).pipe(socket, { end: false });
  return new Promise((resolve) => {
    socket.on("error", () => resolve(false));
    socket.on("data", () => {
      if (received < bytes + DIGEST_BYTES) return;
      const arrived = Buffer.concat(digest).equals(digestOf(seed, bytes));
      resolve(arrived && hash.digest().equals(digestOf(seed + 1, bytes)));
    });
  });
}

const [role, ...words] = process.argv.slice(2);
if (role === "server") {
  createServer(answer).listen(Number(words[0]), () => console.log("ready"));
} else {
  const [address = "", port, streams, bytes] = [words[0], ...words.slice(1).map(Number)] as [
    string,
    number,
    number,
    number,
  ];
  const all = Array.from({ length: streams }, (_, index) => exchange(address, port, index * 2 + 1, bytes));
  const unharmed = (await Promise.all(all)).filter(Boolean).length;
  console.log(`${unharmed} of ${streams} unharmed`);
  process.exit(0);
}
