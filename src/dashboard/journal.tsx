// The agent's journal as it comes, newest first.
import { useMemo, useState } from "preact/hooks";
import type { EntryItem, SourceItem } from "./messages.ts";
import { Freshness, More, Scroll, Section, useFilter } from "./parts.tsx";

interface JournalProps {
  readonly entries: readonly EntryItem[];
  readonly source: SourceItem | undefined;
  readonly nowMs: number;
}

const levelNames = { error: "error", warn: "warning", info: "", detail: "" } as const;

export function Journal({ entries, source, nowMs }: JournalProps) {
  const [heldBack, setHeldBack] = useState<readonly EntryItem[]>();
  const [hasDetails, setHasDetails] = useState(false);
  const filter = useFilter("Filter events");
  const shown = heldBack ?? entries;
  const rows = useMemo(
    () =>
      shown
        .filter(({ level }) => hasDetails || level !== "detail")
        .filter((entry) => filter.text === "" || textOf(entry).includes(filter.text))
        .toReversed(),
    [shown, hasDetails, filter.text],
  );
  const newer = heldBack === undefined ? 0 : (entries.at(-1)?.id ?? 0) - (heldBack.at(-1)?.id ?? 0);
  return (
    <Section
      id="journal"
      title="Journal"
      note={source?.problem === undefined ? undefined : <Freshness source={source} nowMs={nowMs} />}
    >
      <div class="controls">
        {filter.field}
        <label>
          <input type="checkbox" checked={hasDetails} onChange={() => setHasDetails(!hasDetails)} /> single leases and
          kernel objects
        </label>
        <button
          type="button"
          aria-pressed={heldBack !== undefined}
          onClick={() => setHeldBack(heldBack === undefined ? entries : undefined)}
        >
          {heldBack === undefined ? "Hold" : `Go on (${newer} newer)`}
        </button>
      </div>
      {entries.length === 0 && <p>No event yet.</p>}
      <More items={rows} step={50} noun="events">
        {(some) => (
          <Scroll label="Events, newest first">
            <ol>
              {some.map((entry) => (
                <Entry key={entry.id} entry={entry} />
              ))}
            </ol>
          </Scroll>
        )}
      </More>
    </Section>
  );
}

function Entry({ entry: { at, event, level, message, cause, leftOut } }: { readonly entry: EntryItem }) {
  return (
    <li class={`level-${level}`}>
      <time dateTime={at}>{timeOf(at)}</time> {levelNames[level] !== "" && <strong>{levelNames[level]} </strong>}
      <code>{event}</code> {message}
      {cause !== undefined && <span class="note"> ({cause})</span>}
      {leftOut !== undefined && <span class="note"> … after {leftOut} that came too fast to be kept</span>}
    </li>
  );
}

function textOf({ event, message, cause = "", level }: EntryItem): string {
  return `${event} ${message} ${cause} ${level}`.toLowerCase();
}

/** UTC, as in the log; of another day with its date. */
function timeOf(at: string): string {
  const [date = "", time = ""] = at.replace("Z", "").split("T");
  return date === new Date().toISOString().slice(0, 10) ? time : `${date} ${time}`;
}
