// Runs nft, iptables and the like: found in PATH, bounded in time and output, errors as FlannelErrors.
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import type { Readable } from "node:stream";
import { describeError, FlannelError } from "../errors.ts";
import { isOutOfDescriptors, withSpareDescriptors } from "./spare-descriptors.ts";

const TIMEOUT_MS = 10_000;
const MAX_OUTPUT_CHARACTERS = 64 * 1024 * 1024;

/** Services are often started with a PATH that lacks these. */
const extraDirectories = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/** Full path of a program; undefined when this host does not have it. */
export function findTool(name: string): string | undefined {
  const directories = [
    ...(process.env["PATH"] ?? "").split(delimiter).filter((entry) => entry !== ""),
    ...extraDirectories,
  ];
  return directories.map((directory) => join(directory, name)).find(isExecutable);
}

/** By this process; false for what is not there. */
export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export interface ToolResult {
  readonly stdout: string;
  readonly stderr: string;
  /** -1 when it was killed. */
  readonly exitCode: number;
}

/**
 * Any exit code is a result. Throws `TOOL_MISSING` when it is not there or not a program, `KERNEL_BUSY` when the host has no
 * descriptors, processes or memory for it, `FIREWALL_REJECTED` when it hangs or says too much.
 */
export async function tryTool(
  path: string,
  args: readonly string[],
  input = "",
  timeoutMs = TIMEOUT_MS,
): Promise<ToolResult> {
  return await withSpareDescriptors(() => start(path, args, input, timeoutMs));
}

function start(path: string, args: readonly string[], input: string, timeoutMs: number): Promise<ToolResult> {
  const { promise, resolve, reject } = Promise.withResolvers<ToolResult>();
  let child: ChildProcess;
  try {
    child = spawn(path, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, LC_ALL: "C" } });
  } catch (cause) {
    return Promise.reject(notStarted(path, cause));
  }
  child.once("error", (cause) => reject(notStarted(path, cause)));
  // Without descriptors for its pipes there are none; the error comes in the next turn.
  const { stdin, stdout, stderr } = child;
  if (stdin === null || stdout === null || stderr === null) return promise;
  if (stdin === undefined || stdout === undefined || stderr === undefined) return promise;
  const output = { stdout: "", stderr: "" };
  const timer = setTimeout(() => {
    child.kill("SIGKILL");
    const message = `${path} ${args.join(" ")} timed out after ${timeoutMs / 1000} s`;
    reject(new FlannelError("FIREWALL_REJECTED", message, { retryable: true }));
  }, timeoutMs);
  for (const [name, stream] of Object.entries({ stdout, stderr }) as ["stdout" | "stderr", Readable][]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output[name] += text;
      if (output[name].length <= MAX_OUTPUT_CHARACTERS) return;
      output[name] = "";
      child.kill("SIGKILL");
      // A part of a listing must not be taken for the whole.
      const message = `${path} ${args.join(" ")} printed more than ${MAX_OUTPUT_CHARACTERS} characters`;
      reject(new FlannelError("FIREWALL_REJECTED", message, { retryable: true }));
    });
  }
  // A program that ends without reading closes its input: its exit code tells why.
  stdin.on("error", () => undefined).end(input);
  child.once("error", () => clearTimeout(timer));
  child.on("close", (code) => {
    clearTimeout(timer);
    resolve({ ...output, exitCode: code ?? -1 });
  });
  return promise;
}

function notStarted(path: string, cause: unknown): FlannelError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  if (isOutOfDescriptors(cause)) {
    const message = `cannot run ${path}: no file descriptors left (${code}); raise LimitNOFILE= of the unit, or find what holds them`;
    return new FlannelError("KERNEL_BUSY", message, { cause, tellsCause: true, retryable: true });
  }
  if (["EAGAIN", "ENOMEM"].includes(code)) {
    const message = `cannot run ${path}: the host has no process or memory left (${code})`;
    return new FlannelError("KERNEL_BUSY", message, { cause, tellsCause: true, retryable: true });
  }
  return new FlannelError("TOOL_MISSING", `cannot run ${path}: ${describeError(cause)}`, { cause });
}

/** Standard output. Throws `FIREWALL_REJECTED` with the tool's own words unless it exits with 0. */
export async function runTool(path: string, args: readonly string[], input = ""): Promise<string> {
  const result = await tryTool(path, args, input);
  if (result.exitCode === 0) return result.stdout;
  throw rejected(path, args, result);
}

export function rejected(path: string, args: readonly string[], { stderr, exitCode }: ToolResult): FlannelError {
  const words = stderr.trim().split("\n").slice(0, 3).join("; ") || `exit code ${exitCode}`;
  const command = [path.replace(/^.*\//, ""), ...args].join(" ");
  return new FlannelError("FIREWALL_REJECTED", `${command}: ${words}`, { retryable: true });
}
