// Small parts that several sections of the page are made of.
import type { ComponentChildren } from "preact";
import { useId, useMemo, useState } from "preact/hooks";
import type { SourceItem } from "./messages.ts";
import { ago, type Tone } from "./words.ts";

export interface SectionProps {
  readonly id: string;
  readonly title: string;
  /** Beside the title. */
  readonly note?: ComponentChildren;
  readonly children: ComponentChildren;
}

export function Section({ id, title, note, children }: SectionProps) {
  return (
    <section id={id} aria-labelledby={`${id}-title`} tabIndex={-1}>
      <header>
        <h2 id={`${id}-title`}>{title}</h2>
        {note}
      </header>
      {children}
    </section>
  );
}

/** When something was read last; loud when it can no longer be read. */
export function Freshness({ source, nowMs }: { readonly source: SourceItem | undefined; readonly nowMs: number }) {
  if (source === undefined) return <p class="note">not read yet</p>;
  const { readAt, problem } = source;
  if (problem === undefined) return <p class="note">read {ago(readAt, nowMs)}</p>;
  const since = readAt === undefined ? "" : `, as of ${ago(readAt, nowMs)}`;
  return (
    <p class="note bad-text">
      cannot be read{since}: {problem}
    </p>
  );
}

export function Badge({ tone, children }: { readonly tone: Tone; readonly children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

/** Text of a filter, in lower case, with its field. */
export function useFilter(label: string) {
  const [text, setText] = useState("");
  const id = useId();
  const field = (
    <p class="filter">
      <label for={id}>{label}</label>
      <input
        id={id}
        type="search"
        value={text}
        maxLength={200}
        autocomplete="off"
        spellcheck={false}
        onInput={({ currentTarget }) => setText(currentTarget.value)}
      />
    </p>
  );
  return { text: text.trim().toLowerCase(), field };
}

export interface MoreProps<T> {
  readonly items: readonly T[];
  readonly step: number;
  readonly noun: string;
  readonly children: (shown: readonly T[]) => ComponentChildren;
}

/** The first of a long list, and a button for more. */
export function More<T>({ items, step, noun, children }: MoreProps<T>) {
  const [limit, setLimit] = useState(step);
  const shown = useMemo(() => items.slice(0, limit), [items, limit]);
  const rest = items.length - shown.length;
  return (
    <>
      {children(shown)}
      {rest > 0 && (
        <p class="more">
          <button type="button" onClick={() => setLimit(limit + step * 4)}>
            Show {Math.min(rest, step * 4)} more
          </button>{" "}
          <span class="note">
            {rest} more {noun}
          </span>
        </p>
      )}
    </>
  );
}

/** Labels with their values; those without one are left out. */
export function Pairs({ pairs }: { readonly pairs: readonly (readonly [string, string | undefined])[] }) {
  return (
    <dl>
      {pairs.map(([label, value]) =>
        value === undefined || value === "" ? null : (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        ),
      )}
    </dl>
  );
}

/** Of limited height; scrolls with the keyboard, too. */
export function Scroll({ label, children }: { readonly label: string; readonly children: ComponentChildren }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached with the keyboard
    <section class="scroll" aria-label={label} tabIndex={0}>
      {children}
    </section>
  );
}

/** Lines of a program, for reading. */
export function Lines({ label, lines }: { readonly label: string; readonly lines: readonly string[] }) {
  return (
    <Scroll label={label}>
      <pre>
        {lines.map((line, index) => (
          <span key={index} class={lineClass(line)}>
            {line}
            {"\n"}
          </span>
        ))}
      </pre>
    </Scroll>
  );
}

function lineClass(line: string): string {
  return line.startsWith("+ ") ? "added" : line.startsWith("- ") ? "removed" : "";
}
