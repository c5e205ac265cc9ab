// Runs nft, iptables and the like: found in PATH, bounded in time and output, errors as FlannelErrors.
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { FlannelError } from "../errors.ts";

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

function isExecutable(path: string): boolean {
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

/** Any exit code is a result. Throws `TOOL_MISSING` when it cannot be started, `FIREWALL_REJECTED` when it hangs. */
export function tryTool(path: string, args: readonly string[], input = ""): Promise<ToolResult> {
  const { promise, resolve, reject } = Promise.withResolvers<ToolResult>();
  const child = spawn(path, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, LC_ALL: "C" } });
  const output = { stdout: "", stderr: "" };
  const timer = setTimeout(() => {
    child.kill("SIGKILL");
    const message = `${path} ${args.join(" ")} timed out after ${TIMEOUT_MS / 1000} s`;
    reject(new FlannelError("FIREWALL_REJECTED", message, { retryable: true }));
  }, TIMEOUT_MS);
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      if (output[name].length < MAX_OUTPUT_CHARACTERS) output[name] += text;
    });
  }
  // A program that ends without reading closes its input: its exit code tells why.
  child.stdin.on("error", () => undefined).end(input);
  child.on("error", (cause) => {
    clearTimeout(timer);
    reject(new FlannelError("TOOL_MISSING", `cannot run ${path}: ${cause.message}`, { cause }));
  });
  child.on("close", (code) => {
    clearTimeout(timer);
    resolve({ ...output, exitCode: code ?? -1 });
  });
  return promise;
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
