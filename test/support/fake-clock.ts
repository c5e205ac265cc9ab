// A clock that processes see instead of the machine's, and that can be set while they run (libfaketime). The monotonic one
// is left alone.
import { globSync } from "node:fs";
import { writeFile } from "node:fs/promises";

/** A wall clock that the test sets, for the programs started with its environment; their timers run as ever. */
export class FakeClock {
  readonly env: Readonly<Record<string, string>>;
  readonly #file: string;

  private constructor(library: string, file: string) {
    this.#file = file;
    this.env = {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: "1",
      DONT_FAKE_MONOTONIC: "1",
    };
  }

  static async create(): Promise<FakeClock> {
    const clock = new FakeClock(faketimeLibrary(), "/run/clock");
    await clock.set(0);
    return clock;
  }

  /** From now on the clock is wrong by so much. */
  async set(offsetMs: number): Promise<void> {
    const sign = offsetMs < 0 ? "-" : "+";
    await writeFile(this.#file, `${sign}${Math.abs(offsetMs) / 1_000}\n`);
  }
}

/** For LD_PRELOAD; Debian keeps it in a directory named after the processor. */
export function faketimeLibrary(): string {
  const [library] = globSync("/usr/lib/*/faketime/libfaketime.so.1");
  if (library === undefined) throw new Error("libfaketime is not installed");
  return library;
}
