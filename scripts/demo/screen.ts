// What the demo prints: short lines that read well on a terminal and in a log. Colours only on a terminal.
import { styleText } from "node:util";

export interface Screen {
  /** A bold line with room above. */
  heading(text: string): void;
  /** Lines as they are, indented. */
  lines(lines: readonly string[]): void;
  /** A mark, what was done, and how long it took. */
  done(text: string, elapsedMs?: number): void;
  /** Something was broken on purpose. */
  broke(text: string): void;
  failed(text: string): void;
}

export function openScreen(stream: NodeJS.WriteStream): Screen {
  const style = (format: "bold" | "green" | "red" | "yellow" | "dim", text: string) =>
    styleText(format, text, { stream });
  const print = (text: string) => void stream.write(`${text}\n`);
  return {
    heading: (text) => print(`\n${style("bold", text)}`),
    lines: (lines) => {
      for (const line of lines) print(line === "" ? "" : `    ${line}`);
    },
    done: (text, elapsedMs) => {
      const time = elapsedMs === undefined ? "" : style("dim", `  (${seconds(elapsedMs)})`);
      print(`  ${style("green", "✓")} ${text}${time}`);
    },
    broke: (text) => print(`  ${style("yellow", "✂")} ${text}`),
    failed: (text) => print(`  ${style("red", "✗")} ${text}`),
  };
}

/** Columns padded to their widest cell; the first row is the header. */
export function table(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 1)} s`;
}

/** `8.13 Gbit/s`, `940 Mbit/s`. */
export function bitRate(bitsPerSecond: number): string {
  if (bitsPerSecond >= 1e9) return `${(bitsPerSecond / 1e9).toFixed(2)} Gbit/s`;
  return `${(bitsPerSecond / 1e6).toFixed(0)} Mbit/s`;
}
