// Entry point of flannelctl: connects the program to the process and ends it with its exit code.
import { createInterface } from "node:readline/promises";
import { text } from "node:stream/consumers";
import { exitCodes } from "../exit-codes.ts";
import { version } from "../version.ts";
import { runFlannelctl } from "./flannelctl/program.ts";
import type { Terminal } from "./flannelctl/session/invocation.ts";
import { allRolledBack } from "./flannelctl/session/rollback.ts";

/** After Ctrl-C a verb gets this long to put things down before the process ends anyway. */
const graceMs = 1000;

const outputGone = new AbortController();

function processTerminal(): Terminal {
  return {
    env: process.env,
    stdoutIsTty: process.stdout.isTTY === true,
    writeOut: (output) => void process.stdout.write(output),
    writeErr: (output) => void process.stderr.write(output),
    readInput: () => text(process.stdin),
    askLine,
    nowMs: Date.now,
    outputGone: outputGone.signal,
    size: () => ({ rows: process.stdout.rows || 24, columns: process.stdout.columns || 80 }),
  };
}

/** The question goes to standard error: a result on standard output is no place for it. */
async function askLine(question: string): Promise<string | undefined> {
  if (process.stdin.isTTY !== true) return undefined;
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await lines.question(question, { signal: controller.signal });
  } finally {
    lines.close();
  }
}

/** A reader that went away (`| head`) is no error; the verb ends as it would have. */
function ignoreBrokenPipe(stream: NodeJS.WriteStream): void {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") process.exit(1);
    if (stream === process.stdout) outputGone.abort();
  });
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write("", () => resolve()));
}

ignoreBrokenPipe(process.stdout);
ignoreBrokenPipe(process.stderr);
const controller = new AbortController();
const interrupt = () => {
  controller.abort();
  setTimeout(() => void allRolledBack().finally(() => process.exit(exitCodes.interrupted)), graceMs).unref();
};
// A lost ssh session is one too.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const) process.once(signal, interrupt);
// Would open Node's debugger to all users of this host; the launcher closes that to the moments before this, too.
process.on("SIGUSR1", () => undefined);
const exitCode = await runFlannelctl(process.argv.slice(2), processTerminal(), controller.signal, version);
await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
process.exit(exitCode);
