// The call to a container runtime, against a server on a unix socket that answers as one, and as none should.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { listSandboxes, sandboxIdsOf } from "./runtime-sandboxes.ts";

let directory: string;
let socket: string;
const { signal } = new AbortController();

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cri-"));
  socket = join(directory, "cri.sock");
});
afterEach(() => rmSync(directory, { recursive: true }));

/** One field with bytes. */
function field(number: number, content: Buffer | string): Buffer {
  const bytes = Buffer.from(content);
  const head = [number * 8 + 2];
  let length = bytes.length;
  for (; length >= 0x80; length = Math.floor(length / 0x80)) head.push((length & 0x7f) | 0x80);
  return Buffer.concat([Buffer.from([...head, length]), bytes]);
}

/** As api.proto has it: id, metadata, state (a number), created_at (a large number), labels. */
function sandbox(id: string): Buffer {
  const numbers = Buffer.from([0x18, 1, 0x20, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x17]);
  return Buffer.concat([field(1, id), field(2, field(1, "pod")), numbers, field(5, "x".repeat(300))]);
}

const answerOf = (ids: readonly string[]) => Buffer.concat(ids.map((id) => field(1, sandbox(id))));

async function serve(status: string, message: Buffer | undefined, declared = message?.length ?? 0) {
  const server = createServer();
  server.on("stream", (stream, headers) => {
    if (headers[":path"] !== "/runtime.v1.RuntimeService/ListPodSandbox") return stream.close();
    stream
      .on("error", () => undefined)
      .respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": status, "grpc-message": "no reason" }));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(declared, 1);
    return stream.end(message === undefined ? "" : Buffer.concat([head, message]));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return { [Symbol.dispose]: () => void server.close() };
}

test("names all sandboxes, none when there is none, and nothing where there is no such service", async () => {
  const ids = Array.from({ length: 300 }, (_, index) => index.toString(16).padStart(64, "a"));
  for (const [message, expected] of [
    [answerOf(ids), new Set(ids)],
    [Buffer.alloc(0), new Set()],
  ] as const) {
    using _server = await serve("0", message);
    expect(await listSandboxes(socket, signal)).toEqual(expected);
  }
  using _containerdWithoutCri = await serve("12", undefined);
  expect(await listSandboxes(socket, signal)).toBeUndefined();
});

test("what is no answer is an error, and never an empty list", async () => {
  const whole = answerOf(["a".repeat(64)]);
  const answers = [
    ["13", undefined, 0],
    ["0", undefined, 0],
    ["0", whole.subarray(0, -3), whole.length],
    ["0", whole.subarray(0, -3), whole.length - 3],
    ["0", field(1, field(2, "a sandbox without an id")), undefined],
    ["", whole, undefined],
  ] as const;
  for (const [status, message, declared] of answers) {
    using _server = await serve(status, message, declared);
    await expect(listSandboxes(socket, signal)).rejects.toMatchObject({ code: "RUNTIME_UNAVAILABLE" });
  }
  await expect(listSandboxes(join(directory, "none"), signal)).rejects.toMatchObject({ code: "RUNTIME_UNAVAILABLE" });
});

test("reads hostile bytes without end or harm", () => {
  const property = fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    try {
      return !sandboxIdsOf(Buffer.from(bytes)).has("");
    } catch (error) {
      return error instanceof Error && error.message.startsWith("the answer");
    }
  });
  fc.assert(property, propertyRuns(100_000));
});
