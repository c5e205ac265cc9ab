// Runs vitest once in a process of its own, in a box if asked, or the soak, and gives back the counts and what it printed.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { boxed } from "../lab/box.ts";
import { isBoxKept } from "../lab/keep-box.ts";
import { takeReapedSeconds } from "./processor-time.ts";

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
  /** Only tests whose name matches this; none may be there. */
  readonly testName?: string;
}

export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface RunResult extends Tally {
  readonly output: string;
  readonly seconds: number;
  /** Of the processor, with all that the run started. */
  readonly processorSeconds: number;
  /** File and name of each failed test. */
  readonly failures: readonly string[];
}

export async function runVitest(run: VitestRun): Promise<RunResult> {
  const directory = mkdtempSync(join(tmpdir(), "vitest-"));
  const resultFile = join(directory, "result.json");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${resultFile}`];
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  // One file at a time: how many runs go on side by side is decided by who starts them.
  const options = ["--maxWorkers=1", ...(run.testName === undefined ? [] : ["-t", run.testName])];
  const node = run.node ?? process.execPath;
  const argv = [node, vitest, "run", "--project", run.project, ...options, ...reporters, ...run.files];
  const started = performance.now();
  try {
    const { code, ...used } = await runProcess(run.inBox ? boxed(argv) : argv, run);
    const seconds = (performance.now() - started) / 1000;
    const report = readResult(resultFile);
    return { ...tallyOf(report, code, run.testName !== undefined), ...used, seconds, failures: failuresIn(report) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The soak makes its own box and gives its verdict as an exit code: it counts as one test. */
export async function runSoak(minutes: number, timeoutMs: number): Promise<RunResult> {
  const argv = [process.execPath, join(root, "bench/soak.ts"), "--minutes", String(minutes)];
  const started = performance.now();
  const { code, ...used } = await runProcess(argv, { timeoutMs });
  const seconds = (performance.now() - started) / 1000;
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0, ...used, seconds, failures: [] };
}

/** Output is kept, not shown: runs go on side by side. */
function runProcess(
  argv: readonly string[],
  run: Pick<VitestRun, "timeoutMs" | "env">,
): Promise<{ code: number | null; output: string; processorSeconds: number }> {
  const [command = "", ...args] = argv;
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...run.env, NO_COLOR: "1" };
    const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    let processorSeconds = 0;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        if (isBoxKept) process.stderr.write(text);
      });
    }
    if (isBoxKept)
      console.error(`to look inside, once it has begun: nsenter --all --target $(pgrep --parent ${child.pid})`);
    const timeoutMs = isBoxKept ? 24 * 3_600_000 : run.timeoutMs;
    const guard = setTimeout(() => {
      output += `\nkilled: still running after ${timeoutMs / 1000} s\n`;
      child.kill("SIGKILL");
    }, timeoutMs);
    child.once("error", reject);
    child.once("exit", () => {
      processorSeconds = takeReapedSeconds();
    });
    child.once("close", (code) => {
      clearTimeout(guard);
      resolve({ code, output, processorSeconds });
    });
  });
}

/** What vitest's JSON reporter writes, as far as it is read here. */
interface JsonReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
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
function tallyOf(report: JsonReport | undefined, code: number | null, mayBeEmpty: boolean): Tally {
  const passed = report?.numPassedTests ?? 0;
  const failed = report?.numFailedTests ?? 0;
  const skipped = (report?.numPendingTests ?? 0) + (report?.numTodoTests ?? 0);
  const ranWell = code === 0 && (mayBeEmpty || passed + failed > 0);
  return { passed, failed: failed === 0 && !ranWell ? 1 : failed, skipped };
}

function failuresIn(report: JsonReport | undefined): string[] {
  return (report?.testResults ?? []).flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter(({ status }) => status === "failed")
      .map(({ fullName }) => `${relative(root, name)}: ${fullName}`),
  );
}
