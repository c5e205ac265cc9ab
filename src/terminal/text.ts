// Turns values into text for people: durations, tables, colours. Pure.

/** Colours text by adding terminal codes, or leaves it alone when the output is not a terminal. */
export interface Paint {
  good(text: string): string;
  warn(text: string): string;
  bad(text: string): string;
  bold(text: string): string;
}

export function makePaint(enabled: boolean): Paint {
  const code = (start: number, end: number) => (text: string) =>
    enabled ? `\u001b[${start}m${text}\u001b[${end}m` : text;
  return { good: code(32, 39), warn: code(33, 39), bad: code(31, 39), bold: code(1, 22) };
}

/** The two largest units of a duration: `45 s`, `3 min 20 s`, `23 h 4 min`, `2 d 3 h`. Negative counts as 0. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const units: readonly (readonly [number, string])[] = [
    [86_400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = units.findIndex(([size]) => whole >= size);
  if (first < 0) return "0 s";
  const parts: string[] = [];
  let rest = whole;
  for (const [size, name] of units.slice(first, first + 2)) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count} ${name}`);
  }
  return parts.join(" ");
}

/** Time since an RFC 3339 instant as `12 s ago`; the text itself when it is not an instant. */
export function formatAgo(instant: string, nowMs: number): string {
  const atMs = Date.parse(instant);
  return Number.isNaN(atMs) ? instant : `${formatDuration((nowMs - atMs) / 1000)} ago`;
}

/** `3 peers`, `1 peer`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** A command line for a shell. */
export function shellLine(argv: readonly string[]): string {
  const word = (text: string) => (/^[\w./@+,=:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  return argv.map(word).join(" ");
}

/** Left-aligned columns two spaces apart, headings first. Columns without any content are left out. */
export function formatTable(headings: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const used = headings.map((_, column) => rows.some((row) => (row[column] ?? "") !== ""));
  const lines = [headings, ...rows].map((row) => headings.map((_, i) => row[i] ?? "").filter((_, i) => used[i]));
  const widths = (lines[0] ?? []).map((_, i) =>
    lines.reduce((width, row) => Math.max(width, (row[i] ?? "").length), 0),
  );
  return lines.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

/** Label and value in two columns, indented; pairs without a value are left out. */
export function formatPairs(pairs: readonly (readonly [string, string | undefined])[]): string[] {
  const shown = pairs.filter(([, value]) => value !== undefined);
  const width = shown.reduce((widest, [label]) => Math.max(widest, label.length), 0);
  return shown.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`);
}
