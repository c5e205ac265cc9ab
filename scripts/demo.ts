// `npm start`: the part of the demo outside its box. Checks what must be there, starts the box, passes on "stop".
// The box ends with this process, whatever ends it, so nothing is ever left behind.
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { boxed } from "../lab/box.ts";
import { missingPrograms } from "../lab/capability.ts";
import { type DemoOptions, DemoUsageError, demoUsage, parseDemoOptions } from "./demo/demo-options.ts";

const inside = fileURLToPath(new URL("demo/inside.ts", import.meta.url));
const programs = ["ip", "bridge", "ping", "iperf3", "sysctl", "unshare", "nsenter", "setpriv"];
const debianPackages = "iproute2 iputils-ping iperf3 procps util-linux";
const etcdPrograms = ["etcd", "etcdctl"];
const etcdPackages = "etcd-server etcd-client";
/** How long the box may take to end after it was asked to. */
const stopWithinMs = 5_000;

async function main(): Promise<number> {
  let options: DemoOptions;
  try {
    options = parseDemoOptions(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof DemoUsageError)) throw error;
    console.error(`demo: ${error.message} See npm start -- --help.`);
    return 2;
  }
  if (options.help) {
    process.stdout.write(demoUsage);
    return 0;
  }
  const obstacle = await findObstacle(options);
  if (obstacle !== undefined) {
    console.error(`demo: ${obstacle}`);
    return 1;
  }
  const isWatched = process.stdin.isTTY && process.stdout.isTTY;
  return runBox(options.once || !isWatched ? [...process.argv.slice(2), "--once"] : process.argv.slice(2));
}

/** A sentence on why the demo cannot run here, or undefined. */
async function findObstacle({ store }: DemoOptions): Promise<string | undefined> {
  if (process.platform !== "linux") return `it needs Linux network namespaces; this system is ${process.platform}.`;
  if (process.getuid?.() !== 0) return "it creates networks, which needs root: run sudo npm start.";
  const missing = await missingPrograms(store === "etcd" ? [...programs, ...etcdPrograms] : programs);
  if (missing.length === 0) return undefined;
  const packages = store === "etcd" ? `${debianPackages} ${etcdPackages}` : debianPackages;
  return `missing programs: ${missing.join(", ")}. On Debian: apt-get install ${packages}`;
}

/** Runs the show in a box of its own session, so that Ctrl-C reaches only us. Gives its exit code. */
function runBox(argv: readonly string[]): Promise<number> {
  const [program = "", ...rest] = boxed([process.execPath, inside, ...argv]);
  const box = spawn(program, rest, { detached: true, stdio: ["ignore", "inherit", "inherit", "pipe"] });
  const pipe = box.stdio[3] as Duplex;
  let isBoxAlive = false;
  pipe.once("data", () => {
    isBoxAlive = true;
    pipe.write(`${boxPidOf(box)}\n`);
  });
  pipe.on("error", () => undefined);
  const stop = () => {
    pipe.end();
    setTimeout(() => box.kill("SIGKILL"), stopWithinMs).unref();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  return new Promise((resolve) => {
    box.on("error", (error) => {
      console.error(`demo: cannot start its box: ${error.message}`);
      resolve(1);
    });
    box.on("close", (code) => {
      if (isBoxAlive) {
        console.log("\nThe demo has removed everything that it created.");
      } else {
        const reason = "it could not create its namespaces (see above)";
        console.error(`demo: ${reason}. Inside a container it needs --privileged.`);
      }
      resolve(isBoxAlive ? (code ?? 1) : 1);
    });
  });
}

/** The first process in the box: the only child of `unshare`. */
function boxPidOf(box: ChildProcess): string {
  const parentOf = (pid: string) => {
    try {
      return /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    } catch {
      return undefined; // ended meanwhile
    }
  };
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.find((pid) => parentOf(pid) === String(box.pid)) ?? String(box.pid);
}

process.exitCode = await main();
