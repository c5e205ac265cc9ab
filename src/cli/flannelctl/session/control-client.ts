// Asks the running agent over its unix socket (agent/control/control-protocol.ts). Trusts nothing that comes back.

import { type IncomingMessage, request } from "node:http";
import { z } from "zod";
import { CONTROL_PROTOCOL_VERSION } from "../../../agent/control/control-paths.ts";
import { FlannelError, hasCode, isCancelled } from "../../../errors.ts";
import { tryParseJson } from "../../../json/try-parse-json.ts";
import { printable } from "../../../terminal/foreign-text.ts";
import { describeSilence } from "./silent-agent.ts";

export interface AgentRequest<T> {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly schema: z.ZodType<T>;
  /** How long the answer may take; default 30,000. */
  readonly timeoutMs?: number;
  /** After so long without an answer a process that is stopped or frozen counts as silent; default 2,000. */
  readonly stoppedAfterMs?: number;
}

const TIMEOUT_MS = 30_000;
/** A living agent begins its answers sooner: then it is worth a look whether it can answer at all. */
const SILENT_MS = 2_000;
/** A plan of 50,000 peers is about 25 MB. */
const maxAnswerBytes = 128 * 1024 * 1024;

const errorBodySchema = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

/**
 * One request, one checked answer, from the first of `socketPaths` that has a listener. Rejects with `AGENT_ABSENT` when nobody listens, `KERNEL_DENIED` when the socket
 * may not be opened, `AGENT_SILENT` when who listens does not answer, `AGENT_INCOMPATIBLE` when it speaks another version of the protocol, `INTERNAL` when the agent refuses or its answer cannot be understood, `CANCELLED` by `signal`.
 */
export async function askAgent<T>(
  socketPaths: readonly string[],
  ask: AgentRequest<T>,
  signal: AbortSignal,
): Promise<T> {
  const [first = "", ...others] = socketPaths;
  try {
    return await askOn(first, ask, signal);
  } catch (error) {
    if (others.length > 0 && hasCode(error, "AGENT_ABSENT")) return askAgent(others, ask, signal);
    throw error;
  }
}

async function askOn<T>(socketPath: string, ask: AgentRequest<T>, signal: AbortSignal): Promise<T> {
  const { timeoutMs = TIMEOUT_MS, stoppedAfterMs = SILENT_MS } = ask;
  const deadline = AbortSignal.timeout(timeoutMs);
  const silence = new AbortController();
  const timer = setTimeout(() => {
    const { stopped } = describeSilence(socketPath);
    if (stopped !== undefined) silence.abort();
  }, stoppedAfterMs);
  try {
    const response = await send(socketPath, ask, AbortSignal.any([signal, deadline, silence.signal]));
    clearTimeout(timer);
    const text = await readBody(response, () =>
      unreadable(socketPath, ask.path, `longer than ${maxAnswerBytes} bytes`),
    );
    return readAnswer(socketPath, ask, response.statusCode ?? 0, text);
  } catch (error) {
    if (!signal.aborted && (deadline.aborted || silence.signal.aborted)) {
      throw silent(socketPath, silence.signal.aborted ? stoppedAfterMs : timeoutMs, error);
    }
    throw classify(error, socketPath, signal);
  } finally {
    clearTimeout(timer);
  }
}

function silent(socketPath: string, waitedMs: number, cause: unknown): FlannelError {
  const { pid, stopped } = describeSilence(socketPath);
  const who = pid === undefined ? `the agent on ${socketPath}` : `the agent (pid ${pid}) on ${socketPath}`;
  const why = stopped ?? "it is busy or hangs: read its log, and restart it if that lasts";
  const message = `${who} did not answer within ${waitedMs / 1000} s: ${why}`;
  return new FlannelError("AGENT_SILENT", message, { cause, retryable: true, tellsCause: true });
}

function send(socketPath: string, ask: AgentRequest<unknown>, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request({
      socketPath,
      path: ask.path,
      method: ask.method,
      agent: false,
      signal,
      host: "localhost",
    });
    outgoing.on("response", resolve);
    outgoing.on("error", reject);
    outgoing.end();
  });
}

async function readBody(response: IncomingMessage, tooLong: () => FlannelError): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxAnswerBytes) {
      response.destroy();
      throw tooLong();
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function readAnswer<T>(socketPath: string, ask: AgentRequest<T>, status: number, text: string): T {
  const json = tryParseJson(text);
  if (status === 404) {
    // An older agent does not know our paths, a newer one neither; both refuse with 404.
    throw new FlannelError(
      "AGENT_INCOMPATIBLE",
      `the flanneld on ${socketPath} does not speak version ${CONTROL_PROTOCOL_VERSION} of the control protocol, as this ` +
        "flannelctl does: restart flanneld if it was upgraded, otherwise use the flannelctl of flanneld's version",
    );
  }
  if (status < 200 || status > 299) {
    const refusal = errorBodySchema.safeParse(json);
    const reason = refusal.success ? refusal.data.error.message : `HTTP status ${status}`;
    throw new FlannelError(
      "INTERNAL",
      `the agent on ${socketPath} refused ${ask.method} ${ask.path}: ${printable(reason)}`,
    );
  }
  const answer = ask.schema.safeParse(json);
  if (answer.success) return answer.data;
  const issue = answer.error.issues[0];
  const detail = json === undefined ? "it is not JSON" : `${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`;
  throw unreadable(socketPath, ask.path, detail);
}

function unreadable(socketPath: string, path: string, detail: string, cause?: unknown): FlannelError {
  return new FlannelError(
    "INTERNAL",
    `cannot read the answer of ${socketPath} to ${path}: ${printable(detail)}; ` +
      "check that flanneld and this flannelctl have the same version",
    { cause },
  );
}

function classify(error: unknown, socketPath: string, signal: AbortSignal): unknown {
  if (signal.aborted) return new FlannelError("CANCELLED", "interrupted", { cause: error });
  if (error instanceof FlannelError || isCancelled(error)) return error;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "ENOENT" || code === "ECONNREFUSED" || code === "ENOTDIR") return absent(socketPath);
  if (code === "EACCES" || code === "EPERM") {
    return new FlannelError("KERNEL_DENIED", `cannot open ${socketPath}: permission denied; run flannelctl as root`, {
      cause: error,
    });
  }
  if (code === "ECONNRESET" || code === "EPIPE") {
    return new FlannelError(
      "INTERNAL",
      `the agent on ${socketPath} closed the connection before its answer was complete; it may be stopping: try again`,
      {
        cause: error,
        retryable: true,
      },
    );
  }
  return unreadable(socketPath, "the request", error instanceof Error ? error.message : String(error), error);
}

function absent(socketPath: string): FlannelError {
  return new FlannelError(
    "AGENT_ABSENT",
    `no flanneld listens on ${socketPath}; start it ("systemctl start flanneld" or bin/flanneld), ` +
      "or name its socket with --socket or its subnet file with --subnet-file",
    { retryable: true },
  );
}
