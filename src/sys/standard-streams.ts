// What a daemon says on its standard streams. Who reads them may be slow or gone: then the words are lost, and nothing else.
import { writeSync } from "node:fs";

/** At once, so that the last line before a crash is there. */
export function writeToStderr(text: string): void {
  write(2, text);
}

export function writeToStdout(text: string): void {
  write(1, text);
}

function write(fd: number, text: string): void {
  try {
    writeSync(fd, text);
  } catch {
    // EAGAIN, EPIPE: nowhere left to say it
  }
}
