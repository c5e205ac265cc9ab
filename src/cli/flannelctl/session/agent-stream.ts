// Follows the agent's events over its unix socket: a line of JSON each, checked, until the agent or the user ends it.
import { type IncomingMessage, request } from "node:http";
import { createInterface } from "node:readline";
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { journalEntrySchema } from "../../../agent/control/journal-protocol.ts";
import { FlannelError } from "../../../errors.ts";
import { tryParseJson } from "../../../json/try-parse-json.ts";
import type { JournalEntryOutput } from "./json-output.ts";

/**
 * `after`: the last entry that is known already. Throws `AGENT_ABSENT` when the agent ends, `AGENT_INCOMPATIBLE` when it has no
 * such stream, `CANCELLED` by `signal`.
 */
export async function* followEvents(
  socketPath: string,
  after: number,
  signal: AbortSignal,
): AsyncGenerator<JournalEntryOutput, never, undefined> {
  const response = await open(socketPath, `${controlPaths.events}?after=${after}`, signal);
  if (response.statusCode !== 200) {
    response.destroy();
    const isUnknown = response.statusCode === 404;
    throw new FlannelError(
      isUnknown ? "AGENT_INCOMPATIBLE" : "INTERNAL",
      isUnknown
        ? `the flanneld on ${socketPath} tells no events: restart it if it was upgraded`
        : `the agent on ${socketPath} refused to be followed: HTTP status ${response.statusCode}; too many clients may follow it already`,
    );
  }
  try {
    // An agent that sends lines without end is stopped by the limit of a string; it is root's own.
    for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY })) {
      const entry = journalEntrySchema.safeParse(tryParseJson(line));
      if (entry.success) yield entry.data;
    }
  } catch (error) {
    if (!signal.aborted) throw ended(socketPath, error);
  } finally {
    response.destroy();
  }
  if (signal.aborted) throw new FlannelError("CANCELLED", "interrupted");
  throw ended(socketPath);
}

function ended(socketPath: string, cause?: unknown): FlannelError {
  return new FlannelError("AGENT_ABSENT", `the agent on ${socketPath} ended`, { cause, retryable: true });
}

function open(socketPath: string, path: string, signal: AbortSignal): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  request({ socketPath, path, agent: false, signal, host: "localhost" }, resolve).on("error", reject).end();
  return promise.catch((cause: unknown) => {
    if (signal.aborted) throw new FlannelError("CANCELLED", "interrupted", { cause });
    throw new FlannelError("AGENT_ABSENT", `no flanneld listens on ${socketPath}`, { cause, retryable: true });
  });
}
