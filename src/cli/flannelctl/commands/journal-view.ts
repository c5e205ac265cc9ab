// Entries of the agent's journal as people read them. Pure.
import type { Paint } from "../../../terminal/text.ts";
import type { JournalEntryOutput } from "../session/json-output.ts";

/** `23:01:07.412 host.object  + 10.5.70.0/24 via …  (lease, revision 8123, by 192.168.50.13)`; the date where it changes. */
export function entryLines(entries: readonly JournalEntryOutput[], paint: Paint): string[] {
  let day = "";
  return entries.flatMap((entry) => {
    const [date = "", time = ""] = entry.at.replace("Z", "").split("T");
    const heading = date === day ? [] : [`# ${date}, UTC`];
    day = date;
    const left = entry.leftOut === undefined ? [] : [`  … ${entry.leftOut} events came too fast to be kept`];
    return [...heading, ...left, `${time}  ${coloured(entry, paint)}`];
  });
}

function coloured(entry: JournalEntryOutput, paint: Paint): string {
  const line = `${entry.event}  ${entry.message}${fieldsText(entry)}${causeText(entry)}`;
  if (entry.level === "error") return paint.bad(line);
  return entry.level === "warn" ? paint.warn(line) : line;
}

/** What the message does not say: of what it is. */
export function fieldsText({ fields, message }: JournalEntryOutput): string {
  const shown = ["key", "subnet", "peer"].flatMap((name) => fields[name] ?? []).map(String);
  const missing = shown.filter((text) => !message.includes(text));
  return missing.length === 0 ? "" : `: ${missing.join(", ")}`;
}

export function causeText({ cause }: JournalEntryOutput): string {
  if (cause === undefined) return "";
  const revision = cause.revision === undefined ? [] : [`revision ${cause.revision}`];
  const by = cause.by === undefined ? [] : [`by ${cause.by}`];
  return `  (${[causeNames[cause.type], ...revision, ...by].join(", ")})`;
}

const causeNames = {
  lease: "lease",
  configuration: "configuration",
  interface: "external interface",
  probe: "probes of the path",
  notification: "external change",
  audit: "external change, found by looking",
  operator: "operator",
  start: "start",
} as const;
