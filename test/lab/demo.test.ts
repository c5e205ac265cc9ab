// The demo as a person runs it: what it shows, how it ends, and that it leaves nothing behind, whatever ends it.
import { type ChildProcess, spawn } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { run, tryRun } from "../../lab/command.ts";
import { until } from "../../lab/wait.ts";

const demo = [process.execPath, fileURLToPath(new URL("../../scripts/demo.ts", import.meta.url))];

/** Runs to its end, without a terminal. */
const runDemo = (...args: readonly string[]) => tryRun([...demo, ...args], { timeoutMs: 90_000 });

interface Running {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly exitCode: Promise<number | null>;
}

const started: ChildProcess[] = [];

/** In the background; with a terminal when asked for. */
function startDemo(args: readonly string[], options: { readonly onTerminal: boolean }): Running {
  const command = [...demo, ...args];
  // exec: a shell in between would turn Ctrl-C into an exit code of its own.
  const argv = options.onTerminal ? ["script", "-qefc", `exec ${command.join(" ")}`, "/dev/null"] : command;
  const child = spawn(argv[0] ?? "", argv.slice(1), { stdio: ["pipe", "pipe", "pipe"] });
  started.push(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  return { child, output: () => output, exitCode: new Promise((resolve) => child.once("close", resolve)) };
}

/** Command lines of all processes of the demo that are left. */
async function demoProcesses(): Promise<readonly string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return lines
    .map((line) => line.replaceAll("\0", " "))
    .filter((line) => /demo|etcd|flanneld|flannel-store|iperf3/.test(line));
}

const untilNothingIsLeft = () =>
  until(
    async () => {
      const processes = (await demoProcesses()).filter((line) => !line.includes("vitest"));
      if (processes.length > 0) throw new Error(`still running: ${processes.join(", ")}`);
      return true;
    },
    { what: "all processes of the demo to be gone" },
  );

afterEach(async () => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
  await untilNothingIsLeft();
  expect((await run(["ip", "netns", "list"])).trim()).toBe("");
  expect((await run(["ip", "-o", "link", "show"])).trim().split("\n")).toHaveLength(1);
});

describe("the show", () => {
  it("runs through with vxlan and ends by itself", async () => {
    const { stdout, stderr, exitCode } = await runDemo("--once");
    expect({ stderr, exitCode }, stdout).toEqual({ stderr: "", exitCode: 0 });
    expect(stdout).toContain("all 6 pairs reach each other");
    expect(stdout).toMatch(/h2 +192\.168\.50\.12 +10\.5\.\d+\.0\/24 +vxlan/);
    expect(stdout).toMatch(/FLANNEL_SUBNET=10\.5\.\d+\.1\/24/);
    expect(stdout).toMatch(/10\.5\.\d+\.0\/24 via 10\.5\.\d+\.0 dev flannel\.1 onlink/);
    expect(stdout).toMatch(/one TCP connection: [\d.]+ [GM]bit\/s/);
    expect(stdout).toMatch(/flannel\.1 is back with its addresses and routes after \d+ ms/);
    expect(stdout).not.toContain("\u001b[");
  });

  it("runs through with host-gw on etcd, without a terminal also without --once", async () => {
    const { stdout, stderr, exitCode } = await runDemo("--backend=host-gw", "--hosts=2", "--store=etcd");
    expect({ stderr, exitCode }, stdout).toEqual({ stderr: "", exitCode: 0 });
    expect(stdout).toContain("store: etcd at");
    expect(stdout).toContain("all 2 pairs reach each other");
    expect(stdout).toMatch(/the routes are back after \d+ ms/);
  });

  it("runs through with udp, and shows throughput beside the kernel's vxlan", async () => {
    const { stdout, stderr, exitCode } = await runDemo("--backend=udp", "--once");
    expect({ stderr, exitCode }, stdout).toEqual({ stderr: "", exitCode: 0 });
    expect(stdout).toContain("all 6 pairs reach each other");
    expect(stdout).toMatch(/10\.5\.0\.0\/16 dev flannel0/);
    expect(stdout).toMatch(/one TCP connection: [\d.]+ [GM]bit\/s/);
    expect(stdout).toMatch(/the same over the kernel's vxlan, for comparison: [\d.]+ [GM]bit\/s/);
    expect(stdout).toMatch(/flannel0 is back with its addresses and routes after \d+ ms/);
  });

  it("shows the leases of alloc, which moves no packets", async () => {
    const { stdout, exitCode } = await runDemo("--backend", "alloc", "--once");
    expect(exitCode, stdout).toBe(0);
    expect(stdout).toMatch(/h3 +192\.168\.50\.13 +10\.5\.\d+\.0\/24/);
    expect(stdout).toContain("nothing to ping");
  });
});

describe("wrong use", () => {
  it.each([["--backend=nosuch"], ["--hosts=17"], ["--store=consul"], ["--nosuch"], ["word"]])(
    "%s: exit 2",
    async (argument) => {
      const { stdout, stderr, exitCode } = await runDemo(argument);
      expect({ stdout, exitCode }).toEqual({ stdout: "", exitCode: 2 });
      expect(stderr).toMatch(/^demo: [^\n]+\. See npm start -- --help\.\n$/);
    },
  );

  it("says how it is used", async () => {
    const { stdout, exitCode } = await runDemo("--help");
    expect(exitCode).toBe(0);
    for (const word of ["--backend", "--hosts", "--store", "--once", "vxlan", "host-gw"])
      expect(stdout).toContain(word);
  });
});

describe("the end", () => {
  it("leaves nothing after kill -9 half-way", async () => {
    const running = startDemo([], { onTerminal: false });
    await until(() => running.output().includes("store: flannel-store at"), { what: "the store of the demo" });
    running.child.kill("SIGKILL");
    await running.exitCode;
  });

  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("stops half-way on %s", async (signal) => {
    const running = startDemo([], { onTerminal: false });
    await until(() => running.output().includes("store: flannel-store at"), { what: "the store of the demo" });
    running.child.kill(signal);
    expect(await running.exitCode).toBe(130);
  });

  it("goes on running on a terminal, with instructions that work when pasted, until Ctrl-C", async () => {
    const running = startDemo([], { onTerminal: true });
    await until(() => running.output().includes("Ctrl-C ends"), { what: "the instructions", timeoutMs: 60_000 });
    const plain = running.output().replaceAll("\r", "");
    const commands = [...plain.matchAll(/^ {6}(\S.*)$/gm)].map(([, command = ""]) => command);
    const paste = async (pattern: RegExp, input = "") => {
      const command = commands.find((line) => pattern.test(line)) ?? "";
      const { stdout, stderr } = await tryRun(["timeout", "-k1", "3", "sh", "-c", command], { input });
      return `${stdout}${stderr}`;
    };
    const pingCommand = commands.find((line) => line.startsWith("ping ")) ?? "";
    expect(await paste(/container2 sh$/, `${pingCommand} -c 1\n`)).toContain("1 received");
    expect(await paste(/flannelctl status/)).toContain("10.5.");
    expect(await paste(/h1 route$/)).toMatch(/10\.5\.\d+\.0\/24 via .* dev flannel\.1 onlink/);
    expect(await paste(/lease list$/)).toContain("192.168.50.11");
    expect(await paste(/flush/)).toMatch(/via .* dev flannel\.1 onlink/);
    running.child.stdin?.write("\u0003");
    expect(await running.exitCode).toBe(0);
  });
});
