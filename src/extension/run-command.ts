// Runs one command of the extension backend: in a process group of its own, bounded in time and output. What it leaves
// running in the background when it ends in time is left alone.
import { type ChildProcess, spawn } from "node:child_process";
import { describeError, FlannelError } from "../errors.ts";
import { withSpareDescriptors } from "../sys/spare-descriptors.ts";
import { shownOutput } from "./command-output.ts";
import { commandWords, trimWhiteSpace } from "./command-words.ts";
import type { CommandName, Variables } from "./extension-state.ts";

export interface CommandRun {
  readonly name: CommandName;
  /** Not empty. */
  readonly command: string;
  readonly shell: boolean;
  readonly variables: Variables;
  /** Its standard input, to which a line end is added. */
  readonly input: string;
  readonly timeLimitMs: number;
  /** Ends it, with its process group. */
  readonly signal?: AbortSignal;
}

/** More is thrown away, and a command whose output matters fails. */
export const MAX_OUTPUT_CHARACTERS = 16 * 1024;
/** Between the request to end and the end by force. */
const GRACE_MS = 1_000;
/** How long what is left running may hold on to the output after the command itself has ended. */
const LINGER_MS = 200;

interface CommandEnd {
  readonly output: string;
  readonly isCut: boolean;
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly wasStopped: "late" | "cancelled" | undefined;
}

/** Both outputs together, without white space around them. Throws `COMMAND_FAILED`. */
export async function runCommand(run: CommandRun): Promise<{ readonly output: string; readonly isCut: boolean }> {
  const environment = commandEnvironment(run.variables);
  const [program, ...args] = run.shell ? ["/bin/sh", "-c", run.command] : commandWords(run.command, environment);
  if (program === undefined || program === "") throw failed(run, "it names no program");
  const end = await withSpareDescriptors(() => execute(run, program, args, environment));
  const failure = failureOf(end, run);
  if (failure === undefined) return { output: trimWhiteSpace(end.output), isCut: end.isCut };
  const words = shownOutput(end.output, environment);
  throw failed(run, words === "" ? failure : `${failure}: ${words}`);
}

/** That of the agent, without what its service manager tells the agent alone. */
function commandEnvironment(variables: Variables): Record<string, string> {
  const inherited = Object.entries(process.env).flatMap(([name, value]) =>
    value === undefined || /^(NOTIFY_SOCKET|LISTEN_\w+|WATCHDOG_\w+)$/.test(name) ? [] : [[name, value] as const],
  );
  return { ...Object.fromEntries(inherited), ...variables };
}

function execute(
  run: CommandRun,
  program: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<CommandEnd> {
  const { promise, resolve, reject } = Promise.withResolvers<CommandEnd>();
  let child: ChildProcess;
  try {
    child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], env, detached: true });
  } catch (cause) {
    return Promise.reject(notStarted(run, program, cause));
  }
  child.once("error", (cause) => reject(notStarted(run, program, cause)));
  const collected = collect(child);
  const stopper = new Stopper(child, run);
  child.once("exit", (exitCode, signal) => {
    stopper.end();
    const finish = () => {
      clearTimeout(linger);
      child.stdout?.destroy();
      child.stderr?.destroy();
      resolve({ ...collected, exitCode, signal, wasStopped: stopper.why });
    };
    const linger = setTimeout(finish, LINGER_MS);
    child.once("close", finish);
  });
  child.once("error", () => stopper.end());
  // A command that does not read its input closes it.
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(`${run.input}\n`);
  return promise;
}

function collect({ stdout, stderr }: ChildProcess): { output: string; isCut: boolean } {
  const collected = { output: "", isCut: false };
  for (const stream of [stdout, stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      const room = MAX_OUTPUT_CHARACTERS - collected.output.length;
      if (text.length > room) collected.isCut = true;
      collected.output += text.slice(0, room);
    });
    stream?.on("error", () => undefined);
  }
  return collected;
}

/** Ends the process group when the time is up or nobody waits any longer. */
class Stopper {
  why: CommandEnd["wasStopped"];
  readonly #child: ChildProcess;
  readonly #signal: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout;
  #force: NodeJS.Timeout | undefined;

  constructor(child: ChildProcess, { timeLimitMs, signal }: CommandRun) {
    this.#child = child;
    this.#signal = signal;
    this.#timer = setTimeout(() => this.#stop("late"), timeLimitMs);
    if (signal?.aborted === true) this.#onAbort();
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  end(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#force);
    this.#signal?.removeEventListener("abort", this.#onAbort);
    // Its first process has ended; others of the group may not have.
    if (this.why !== undefined) this.#kill("SIGKILL");
  }

  readonly #onAbort = () => this.#stop("cancelled");

  #stop(why: "late" | "cancelled"): void {
    this.why ??= why;
    this.#kill("SIGTERM");
    this.#force ??= setTimeout(() => this.#kill("SIGKILL"), GRACE_MS);
  }

  #kill(signal: NodeJS.Signals): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // Nothing is left of it.
    }
  }
}

function failureOf({ exitCode, signal, wasStopped }: CommandEnd, { timeLimitMs }: CommandRun): string | undefined {
  if (wasStopped === "cancelled") return "it was ended because the agent stops";
  if (wasStopped === "late") return `it did not end within ${timeLimitMs / 1_000} s (TimeLimit) and was ended`;
  if (signal !== null) return `it was ended by ${signal}`;
  return exitCode === 0 ? undefined : `exit code ${exitCode}`;
}

function notStarted(run: CommandRun, program: string, cause: unknown): FlannelError {
  const isMissing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
  const words = isMissing
    ? `there is no program ${JSON.stringify(shownOutput(program, process.env))} in PATH`
    : describeError(cause);
  return failed(run, `${words}${shellHint(run)}`, cause);
}

function failed(run: CommandRun, words: string, cause?: unknown): FlannelError {
  const { SUBNET, IPV6SUBNET } = run.variables;
  const isOfPeer = run.name === "SubnetAddCommand" || run.name === "SubnetRemoveCommand";
  const whose = isOfPeer ? ` for ${SUBNET === "" ? IPV6SUBNET : SUBNET}` : "";
  return new FlannelError("COMMAND_FAILED", `${run.name}${whose}: ${words}`, {
    cause,
    tellsCause: true,
    retryable: true,
  });
}

/** What upstream's documents show was written for the shell that upstream ran until v0.28.1. */
function shellHint({ command, shell }: CommandRun): string {
  const isForShell = !shell && /[;|&<>`'"()]|^\s*(export|read|cd|if|for|while|set)\s/.test(command);
  return isForShell ? '; commands run without a shell unless the configuration has "Shell": true' : "";
}
