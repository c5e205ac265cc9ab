// How well a path that is up carries probes: round trips and losses of the last ones, and whether that is worse than usual.
// Pure.

/** As many probes are looked back at. */
const WINDOW = 64;
const MEDIAN_OF = 9;
/** Slower than usual: this many times, and as much more. Half of it is usual again. */
const SLOW_FACTOR = 4;
const SLOW_EXTRA_MS = 20;
/** The usual creeps up, so that a path which has become longer for good is not slow for ever: by half in six hours at one a second. */
const BASELINE_GROWTH = 1.000_02;
const LOSSY_FROM = 0.1;
const LOSSY_UNTIL = 0.05;
const LOSSY_LEAST = 20;

export interface Quality {
  /** Of the last 64 at most. */
  readonly sent: number;
  readonly lost: number;
  /** Missing without any answer. */
  readonly rttMs?: { readonly p50: number; readonly p99: number };
  /** What is usual. */
  readonly usualRttMs?: number;
}

export class PathQuality {
  /** Round trips in ms; NaN: lost. A ring. */
  readonly #window = new Float32Array(WINDOW);
  #count = 0;
  #lost = 0;
  /** Since the last answer. */
  #unresolved = 0;
  #median: number | undefined;
  #usualMs: number | undefined;
  #isSlow = false;
  #isLossy = false;

  answered(rttMs: number): void {
    for (; this.#unresolved > 0; this.#unresolved--) this.#enter(Number.NaN);
    this.#enter(rttMs);
    this.#judge();
  }

  lost(): void {
    this.#unresolved = Math.min(WINDOW, this.#unresolved + 1);
  }

  /** The losses since the last answer were those of a path that was down: they say nothing about one that is up. */
  wasDown(): void {
    this.#unresolved = 0;
  }

  /** The answer to what was counted as lost has come after all. */
  late(rttMs: number): void {
    if (this.#unresolved > 0) {
      this.#unresolved--;
      this.answered(rttMs);
      return;
    }
    for (let back = 1; back <= Math.min(WINDOW, this.#count); back++) {
      const at = (this.#count - back) % WINDOW;
      if (!Number.isNaN(this.#window[at])) continue;
      this.#window[at] = rttMs;
      this.#lost--;
      break;
    }
    this.#judge();
  }

  get isSlow(): boolean {
    return this.#isSlow || this.#isLossy;
  }

  /** Of the newest answers; undefined before the first. */
  get medianRttMs(): number | undefined {
    return this.#median;
  }

  summary(): Quality {
    const answers = this.#answers(WINDOW).sort((a, b) => a - b);
    const at = (share: number) => answers[Math.min(answers.length - 1, Math.floor(share * answers.length))] ?? 0;
    return {
      sent: Math.min(WINDOW, this.#count + this.#unresolved),
      lost: Math.min(WINDOW, this.#lost + this.#unresolved),
      ...(answers.length > 0 && { rttMs: { p50: at(0.5), p99: at(0.99) } }),
      ...(this.#usualMs !== undefined && { usualRttMs: this.#usualMs }),
    };
  }

  #enter(value: number): void {
    const at = this.#count % WINDOW;
    if (this.#count >= WINDOW && Number.isNaN(this.#window[at])) this.#lost--;
    if (Number.isNaN(value)) this.#lost++;
    this.#window[at] = value;
    this.#count++;
  }

  /** At most `most`, newest first. */
  #answers(most: number): number[] {
    const found: number[] = [];
    for (let back = 1; back <= Math.min(WINDOW, this.#count) && found.length < most; back++) {
      const value = this.#window[(this.#count - back) % WINDOW] ?? Number.NaN;
      if (!Number.isNaN(value)) found.push(value);
    }
    return found;
  }

  #judge(): void {
    const newest = this.#answers(MEDIAN_OF).sort((a, b) => a - b);
    if (newest.length > 0) this.#median = newest[newest.length >> 1];
    if (newest.length === MEDIAN_OF && this.#median !== undefined) {
      this.#usualMs = Math.min(this.#median, (this.#usualMs ?? Number.POSITIVE_INFINITY) * BASELINE_GROWTH);
      const boundMs = this.#usualMs * SLOW_FACTOR + SLOW_EXTRA_MS;
      this.#isSlow = this.#median > (this.#isSlow ? boundMs / 2 : boundMs);
    }
    const sent = Math.min(WINDOW, this.#count);
    const ratio = sent < LOSSY_LEAST ? 0 : this.#lost / sent;
    this.#isLossy = ratio >= (this.#isLossy ? LOSSY_UNTIL : LOSSY_FROM);
  }
}
