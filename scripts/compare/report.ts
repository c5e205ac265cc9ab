// What was seen during an upgrade, as lines of a table.

interface Finding {
  readonly verdict: "ok" | "FAILED" | "note";
  readonly step: string;
  readonly what: string;
  readonly seen: string;
}

export class Report {
  readonly #title: string;
  readonly #findings: Finding[] = [];

  constructor(title: string) {
    this.#title = title;
  }

  get isGood(): boolean {
    return this.#findings.length > 0 && this.#findings.every(({ verdict }) => verdict !== "FAILED");
  }

  /** `seen` says what was found, good or not. */
  check(step: string, what: string, isGood: boolean, seen: string): void {
    this.#findings.push({ verdict: isGood ? "ok" : "FAILED", step, what, seen });
  }

  /** Worth to know, and neither good nor bad. */
  note(step: string, what: string, seen: string): void {
    this.#findings.push({ verdict: "note", step, what, seen });
  }

  /** Good when both are the same. */
  checkSame(step: string, what: string, before: string, after: string): void {
    const isSame = before === after;
    this.check(step, what, isSame, isSame ? "unchanged" : `was ${quote(before)}, is ${quote(after)}`);
  }

  toString(): string {
    const width = (key: "step" | "what") => Math.max(...this.#findings.map((finding) => finding[key].length));
    const lines = this.#findings.map(({ verdict, step, what, seen }) => {
      const cells = [verdict.padEnd(6), step.padEnd(width("step")), what.padEnd(width("what")), seen];
      return `  ${cells.join("  ")}`;
    });
    return [this.#title, ...lines].join("\n");
  }
}

function quote(text: string): string {
  return JSON.stringify(text.trim());
}
