// Runs outside programs for the lab: argument lists only (never a shell), bounded in time, errors that say what the
// program said.
import { spawn } from "node:child_process";
import { DEADLINE_MS } from "./wait.ts";

export interface CommandOptions {
  /** Written to the program's standard input, which is closed otherwise. */
  readonly input?: string;
  /** Killed after this long. Default 20 s. */
  readonly timeoutMs?: number;
  /** Added to our own environment. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  /** 128 + signal number is not used: a killed program has -1. */
  readonly exitCode: number;
}

/** A program could not be started, ended with a code other than 0, or took too long. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly argv: readonly string[];
  readonly exitCode: number;
  readonly stderr: string;

  constructor(argv: readonly string[], exitCode: number, stderr: string) {
    super(`${argv.join(" ")}: ${stderr.trim() === "" ? `exit code ${exitCode}` : stderr.trim()}`);
    this.argv = argv;
    this.exitCode = exitCode;
    this.stderr = stderr;
  }
}

/** Standard output of the program. Throws CommandError unless it exits with 0. */
export async function run(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await tryRun(argv, options);
  if (result.exitCode !== 0) throw new CommandError(argv, result.exitCode, `${result.stderr}${result.stdout}`);
  return result.stdout;
}

/** As `run`, but any exit code is a result. Throws CommandError only when the program is missing or took too long. */
export function tryRun(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const timeoutMs = options.timeoutMs ?? DEADLINE_MS;
  const [program = "", ...rest] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, rest, {
      env: { ...process.env, ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const output = { stdout: "", stderr: "" };
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output.stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      output.stderr += text;
    });
    // A program that does not read its input closes it: not our failure.
    child.stdin.on("error", () => undefined).end(options.input ?? "");
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(new CommandError(argv, -1, error.message));
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      if (isLate) reject(new CommandError(argv, -1, `no end within ${timeoutMs} ms. ${output.stderr}`));
      else resolve({ ...output, exitCode: code ?? -1 });
    });
  });
}
