import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { TemporaryDirectory } from "../../test/support/flannelctl.ts";

const entry = fileURLToPath(new URL("flannelctl.ts", import.meta.url));

function start(...argv: string[]): ChildProcess & { stdout: NodeJS.ReadableStream; stderr: NodeJS.ReadableStream } {
  const { FLANNELD_SUBNET_FILE: _, ...env } = process.env;
  return spawn(process.execPath, [entry, ...argv], { env, stdio: ["ignore", "pipe", "pipe"] });
}

test("as a process: --version is the package's, on standard output", async () => {
  const child = start("--version");
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect(stderr).toBe("");
  expect(child.exitCode).toBe(0);
});

test.each(["SIGINT", "SIGQUIT"] as const)(
  "%s of a terminal during a wait exits 130 without a trace",
  async (signal) => {
    using directory = new TemporaryDirectory();
    const child = start("wait", "--socket", directory.file("s"));
    child.stderr.once("data", () => {
      child.kill("SIGUSR1");
      child.kill(signal);
    });
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
    expect(child.exitCode).toBe(130);
    expect(stdout).toBe("");
    expect(stderr).not.toContain("Debugger");
  },
);

test("a reader that goes away does not end in a trace", async () => {
  const child = start("--help");
  child.stdout.on("error", () => undefined);
  (child.stdout as NodeJS.ReadableStream & { destroy(): void }).destroy();
  const [stderr] = await Promise.all([text(child.stderr), once(child, "close")]);
  expect(stderr).toBe("");
  expect(child.exitCode).toBe(0);
});

test("no agent: one line on standard error, exit 3", async () => {
  using directory = new TemporaryDirectory();
  const child = start("status", "--subnet-file", directory.file("subnet.env"));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  expect(stdout).toBe("");
  expect(stderr).toMatch(/^flannelctl: no flanneld listens on [^\n]*flanneld\.sock; [^\n]*\n$/);
  expect(child.exitCode).toBe(3);
});
