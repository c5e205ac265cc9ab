// Runs vitest once in a process of its own, in a box if asked, and gives back the counts and what it printed.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { boxed } from "../lab/box.ts";

export const root = fileURLToPath(new URL("..", import.meta.url));

export interface VitestRun {
  readonly project: string;
  /** Paths below the checkout. */
  readonly files: readonly string[];
  /** Run in namespaces of its own. */
  readonly inBox: boolean;
  /** After this the whole process tree is killed and the run counts as failed. */
  readonly timeoutMs: number;
  /** Default: the running Node. */
  readonly node?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface VitestResult extends Tally {
  readonly output: string;
  readonly seconds: number;
}

export async function runVitest(run: VitestRun): Promise<VitestResult> {
  const directory = mkdtempSync(join(tmpdir(), "vitest-"));
  const resultFile = join(directory, "result.json");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${resultFile}`];
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  const argv = [run.node ?? process.execPath, vitest, "run", "--project", run.project, ...reporters, ...run.files];
  const started = performance.now();
  try {
    const { code, output } = await runProcess(run.inBox ? boxed(argv) : argv, run);
    const seconds = (performance.now() - started) / 1000;
    return { ...tallyOf(readResult(resultFile), code), output, seconds };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Output is kept, not shown: runs go on side by side. */
function runProcess(argv: readonly string[], run: VitestRun): Promise<{ code: number | null; output: string }> {
  const [command = "", ...args] = argv;
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...run.env, NO_COLOR: "1" };
    const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
      });
    }
    const guard = setTimeout(() => {
      output += `\nkilled: still running after ${run.timeoutMs / 1000} s\n`;
      child.kill("SIGKILL");
    }, run.timeoutMs);
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(guard);
      resolve({ code, output });
    });
  });
}

interface JsonReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
}

function readResult(file: string): JsonReport | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    // Killed or crashed before it could write; the exit code says so.
    return undefined;
  }
}

/** A run that failed without a failed test (a file that does not load, an unhandled error) counts as one. */
function tallyOf(report: JsonReport | undefined, code: number | null): Tally {
  const passed = report?.numPassedTests ?? 0;
  const failed = report?.numFailedTests ?? 0;
  const skipped = (report?.numPendingTests ?? 0) + (report?.numTodoTests ?? 0);
  const ranWell = code === 0 && passed + failed > 0;
  return { passed, failed: failed === 0 && !ranWell ? 1 : failed, skipped };
}
