// Streams entries of the journal to a client of the control socket, a line of JSON each, until the client goes. A client that does
// not read loses entries and gets their number once it reads again.
import type { ServerResponse } from "node:http";
import type { JournalEntry } from "../../telemetry/journal.ts";

export interface JournalSource {
  /** Oldest first; those after `sequence`, as far as they are still there. */
  entries(sequence?: number): readonly JournalEntry[];
  follow(onEntry: (entry: JournalEntry) => void): Disposable;
}

const MAX_STREAMS = 8;
const MAX_UNREAD_BYTES = 256 * 1024;
/** An empty line now and then: a client that is gone without a word is found out. */
const HEARTBEAT_MS = 15_000;

let open = 0;

/** False when there are as many streams as there may be. `after`: the last entry that the client has. */
export function streamEvents(response: ServerResponse, journal: JournalSource, after: number | undefined): boolean {
  if (open >= MAX_STREAMS) return false;
  open++;
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  response.flushHeaders();
  let dropped = 0;
  const write = (entry: JournalEntry): void => {
    if (response.writableLength > MAX_UNREAD_BYTES) {
      dropped++;
      return;
    }
    const leftOut = dropped + (entry.leftOut ?? 0);
    dropped = 0;
    response.write(`${JSON.stringify(leftOut === 0 ? entry : { ...entry, leftOut })}\n`);
  };
  if (after !== undefined) for (const entry of journal.entries(after)) write(entry);
  const following = journal.follow(write);
  const heartbeat = setInterval(() => {
    if (response.writableLength <= MAX_UNREAD_BYTES) response.write("\n");
  }, HEARTBEAT_MS).unref();
  response.once("close", () => {
    open--;
    clearInterval(heartbeat);
    following[Symbol.dispose]();
  });
  return true;
}
