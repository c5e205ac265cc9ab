// Asks a container runtime which pod sandboxes it has: ListPodSandbox of the Container Runtime Interface, v1, over its unix
// socket (k8s.io/cri-api/pkg/apis/runtime/v1/api.proto). One call and one field of its answer; no generated code.
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { describeError, FlannelError } from "../errors.ts";

const METHOD = "/runtime.v1.RuntimeService/ListPodSandbox";
const TIMEOUT_MS = 10_000;
/** A node has some hundred pods, of which each takes a few hundred bytes. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
const HEADER_BYTES = 5;
const UNIMPLEMENTED = 12;

/**
 * Ids of all sandboxes, running or not. Undefined where nothing of that interface listens: containerd without its CRI plugin.
 * Throws `RUNTIME_UNAVAILABLE` when it cannot be asked, `CANCELLED`.
 */
export async function listSandboxes(socketPath: string, signal: AbortSignal): Promise<Set<string> | undefined> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  // The path is not the session's business: gRPC servers on unix sockets want some authority.
  const session = connectHttp2("http://localhost", { createConnection: () => connect(socketPath) });
  try {
    const { status, text, body } = await exchange(session, AbortSignal.any([signal, timeout]));
    if (status === UNIMPLEMENTED) return undefined;
    if (status !== 0) throw new Error(`status ${status}: ${text}`);
    return sandboxIdsOf(messageOf(body));
  } catch (cause) {
    if (signal.aborted) throw new FlannelError("CANCELLED", "asking the container runtime was cancelled");
    const reason = timeout.aborted ? `no answer within ${TIMEOUT_MS / 1_000} s` : describeError(cause);
    throw new FlannelError("RUNTIME_UNAVAILABLE", `cannot ask the container runtime at ${socketPath}: ${reason}`, {
      cause,
    });
  } finally {
    session.destroy();
  }
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly body: Buffer;
}

function exchange(session: ClientHttp2Session, signal: AbortSignal): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  session.once("error", reject);
  const headers = { ":method": "POST", ":path": METHOD, "content-type": "application/grpc", te: "trailers" };
  const stream = session.request(headers, { signal });
  const pieces: Buffer[] = [];
  let length = 0;
  let [status, text] = [Number.NaN, ""];
  const takeStatus = (fields: Readonly<Record<string, unknown>>) => {
    const code = String(fields["grpc-status"] ?? "");
    if (/^\d{1,3}$/.test(code)) status = Number(code); // an empty text would be 0: done
    text = String(fields["grpc-message"] ?? text);
  };
  stream.on("response", takeStatus).on("trailers", takeStatus);
  stream.on("data", (piece: Buffer) => {
    length += piece.length;
    if (length > MAX_ANSWER_BYTES) stream.destroy(new Error(`the answer has more than ${MAX_ANSWER_BYTES} bytes`));
    else pieces.push(piece);
  });
  stream.once("error", reject);
  stream.once("close", () => {
    if (Number.isNaN(status)) reject(new Error("the connection was closed before the answer"));
    else resolve({ status, text, body: Buffer.concat(pieces) });
  });
  stream.end(Buffer.alloc(HEADER_BYTES)); // an empty request: no filter
  return promise;
}

/** One message, framed as gRPC does. */
function messageOf(body: Buffer): Buffer {
  if (body.length < HEADER_BYTES || body[0] !== 0) throw new Error("the answer is not an uncompressed message");
  const message = body.subarray(HEADER_BYTES);
  if (message.length !== body.readUInt32BE(1)) throw new Error("the answer is incomplete");
  return message;
}

/** `message ListPodSandboxResponse { repeated PodSandbox items = 1; }`, `message PodSandbox { string id = 1; … }`. */
export function sandboxIdsOf(response: Buffer): Set<string> {
  const ids = fieldsOf(response, 1).map((item) => fieldsOf(item, 1).at(-1)?.toString("utf8") ?? "");
  // What it does not name could be any of them.
  if (ids.includes("")) throw new Error("the answer has a sandbox without an id");
  return new Set(ids);
}

const [VARINT, FIXED64, BYTES, FIXED32] = [0, 1, 2, 5] as const;

/** Contents of the field of that number, which has bytes. Throws for what is no protobuf message. */
function fieldsOf(message: Buffer, wanted: number): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < message.length; ) {
    const tag = readVarint(message, at);
    const type = tag.value & 7;
    const { start, length } = contentOf(message, type, tag.end);
    if (start + length > message.length) throw new Error("the answer is cut off");
    if (Math.floor(tag.value / 8) === wanted && type === BYTES) found.push(message.subarray(start, start + length));
    at = start + length;
  }
  return found;
}

/** Of a field whose tag ends at `at`. */
function contentOf(message: Buffer, type: number, at: number): { readonly start: number; readonly length: number } {
  switch (type) {
    case VARINT:
      return { start: at, length: readVarint(message, at).end - at };
    case BYTES: {
      const { value, end } = readVarint(message, at);
      return { start: end, length: value };
    }
    case FIXED64:
      return { start: at, length: 8 };
    case FIXED32:
      return { start: at, length: 4 };
    default:
      throw new Error("the answer is cut off");
  }
}

function readVarint(message: Buffer, at: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let index = 0; index < 10; index++) {
    const byte = message[at + index];
    if (byte === undefined) throw new Error("the answer is cut off");
    value += (byte & 0x7f) * 2 ** (index * 7);
    if (byte < 0x80) return { value, end: at + index + 1 };
  }
  throw new Error("the answer has a number that is too long");
}
