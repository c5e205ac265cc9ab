// `flannelctl history` and `flannelctl events`: what changed on this host, and why.
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { type History, historySchema } from "../../../agent/control/journal-protocol.ts";
import { FlannelError, hasCode } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { printableDeep, printableJson } from "../../../terminal/foreign-text.ts";
import { count, type Paint } from "../../../terminal/text.ts";
import { followEvents } from "../session/agent-stream.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, paintOf, present } from "../session/invocation.ts";
import { historyOutputSchema, type JournalEntryOutput } from "../session/json-output.ts";
import { OUTPUT_VERSION } from "../session/output-version.ts";
import { entryLines } from "./journal-view.ts";

export interface HistoryOptions {
  readonly limit: number;
  /** Seconds. */
  readonly since?: number;
  /** Only entries that contain this text. */
  readonly about?: string;
}

export const historyRequest = { method: "GET", path: controlPaths.history, schema: historySchema } as const;

export async function showHistory(invocation: Invocation, options: HistoryOptions): Promise<ExitCode> {
  const history = await askAgent(invocation.options.socketPaths, historyRequest, invocation.signal);
  const entries = chosen(history.entries, options, invocation.terminal.nowMs());
  present(invocation, historyOutputSchema, { ...history, entries }, (shown, paint) =>
    renderHistory(shown, history.entries.length, paint),
  );
  return exitCodes.ok;
}

function chosen(entries: readonly JournalEntryOutput[], { limit, since, about }: HistoryOptions, nowMs: number) {
  const recent = since === undefined ? entries : entries.filter(({ at }) => Date.parse(at) >= nowMs - since * 1_000);
  const meant = about === undefined ? recent : recent.filter((entry) => JSON.stringify(entry).includes(about));
  // slice(-0) would be all of them.
  return meant.slice(Math.max(0, meant.length - limit));
}

function renderHistory({ startedAt, entries }: History, known: number, paint: Paint): string[] {
  if (entries.length === 0) return [`nothing of that among ${count(known, "event")} since ${startedAt}`];
  return entryLines(entries, paint);
}

export interface EventsOptions extends HistoryOptions {
  readonly follow: boolean;
}

/** A line each; with `--json` a JSON document each. Without an end with `--follow`. */
export async function showEvents(invocation: Invocation, options: EventsOptions): Promise<ExitCode> {
  const { terminal, signal } = invocation;
  const { socketPaths } = invocation.options;
  const history = await askAgent(socketPaths, historyRequest, signal);
  const print = printer(invocation);
  for (const entry of chosen(history.entries, options, terminal.nowMs())) print(entry);
  if (!options.follow) return exitCodes.ok;
  const end = AbortSignal.any([signal, ...(terminal.outputGone === undefined ? [] : [terminal.outputGone])]);
  try {
    const socketPath = await answering(invocation);
    for await (const entry of followEvents(socketPath, history.entries.at(-1)?.sequence ?? 0, end)) {
      if (options.about === undefined || JSON.stringify(entry).includes(options.about)) print(entry);
    }
  } catch (error) {
    // Who read it has gone, as `head` does.
    if (hasCode(error, "CANCELLED") && terminal.outputGone?.aborted === true) return exitCodes.ok;
    throw error;
  }
  return exitCodes.ok;
}

function printer({ terminal, options }: Invocation): (entry: JournalEntryOutput) => void {
  const paint = paintOf(terminal);
  let day = "";
  return (entry) => {
    if (options.json) {
      terminal.writeOut(`${printableJson(JSON.stringify({ version: OUTPUT_VERSION, ...entry }))}\n`);
      return;
    }
    const lines = entryLines([printableDeep(entry)], paint);
    const isNewDay = entry.at.slice(0, 10) !== day;
    day = entry.at.slice(0, 10);
    terminal.writeOut((isNewDay ? lines : lines.slice(1)).map((line) => `${line}\n`).join(""));
  };
}

/** Of several sockets, the one that was just answered on. */
export async function answering({ options, signal }: Invocation): Promise<string> {
  for (const path of options.socketPaths) {
    try {
      await askAgent([path], historyRequest, signal);
      return path;
    } catch (error) {
      if (!hasCode(error, "AGENT_ABSENT")) throw error;
    }
  }
  throw new FlannelError("AGENT_ABSENT", `no flanneld listens on ${options.socketPaths.join(" or ")}`);
}
