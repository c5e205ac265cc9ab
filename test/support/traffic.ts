// Traffic whose every byte is checked: a stream compared by hash, UDP datagrams of every size.
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Namespace } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";

const streamCheck = fileURLToPath(new URL("stream-check.ts", import.meta.url));
const echo = fileURLToPath(new URL("udp-echo.ts", import.meta.url));

/** Pseudo-random bytes, the same for the same seed. */
function source(bytes: number, seed: number): string {
  const key = String(seed).padStart(32, "0");
  return `openssl enc -aes-128-ctr -K ${key} -iv ${key} -in /dev/zero 2>/dev/null | head -c ${bytes}`;
}

/** It uses the processor's own instructions where they are there: a sixth of what `sha256sum` takes. */
const hashProgram = "openssl dgst -r -sha256";

async function started(child: ChildProcess, word: string): Promise<void> {
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
  }
  await until(() => said.includes(word), { what: `${word} from ${child.spawnargs.join(" ")}` });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = new Promise((resolve) => child.once("close", resolve));
  child.kill("SIGKILL");
  await closed;
}

/** One TCP connection that carries `bytes`; true when the same bytes arrive. */
export async function transfersUnharmed(
  from: Namespace,
  to: Namespace,
  address: string,
  bytes: number,
  port = 5001,
): Promise<boolean> {
  const listen = address.includes(":") ? "TCP6-LISTEN" : "TCP4-LISTEN";
  const target = address.includes(":") ? `TCP6:[${address}]:${port}` : `TCP4:${address}:${port}`;
  const receive = `socat -u -d -d -b 262144 ${listen}:${port},reuseaddr STDOUT | ${hashProgram}`;
  const server = to.spawn(["sh", "-c", receive], { stdio: ["ignore", "pipe", "pipe"] });
  let hash = "";
  server.stdout?.setEncoding("utf8").on("data", (text: string) => {
    hash += text;
  });
  await started(server, "listening");
  const done = new Promise((resolve) => server.once("close", resolve));
  const timeoutMs = 120_000;
  await from.run(["sh", "-c", `${source(bytes, port)} | socat -u -b 262144 STDIN ${target}`], { timeoutMs });
  await done;
  const expected = await from.run(["sh", "-c", `${source(bytes, port)} | ${hashProgram}`], { timeoutMs });
  return hash.trim() === expected.trim();
}

/** TCP connections side by side, with `bytes` each way in each; `N of M unharmed`. */
export async function streamsUnharmed(
  from: Namespace,
  to: Namespace,
  address: string,
  streams: number,
  bytes: number,
): Promise<string> {
  const server = to.spawn([process.execPath, streamCheck, "server", "7001"], { stdio: ["ignore", "pipe", "pipe"] });
  try {
    await started(server, "ready");
    const client = [process.execPath, streamCheck, "client", address, "7001", String(streams), String(bytes)];
    return (await from.run(client, { timeoutMs: 60_000 })).trim();
  } finally {
    await ended(server);
  }
}

/** One UDP datagram of every size, there and back, byte by byte. */
export async function echoesEverySize(
  from: Namespace,
  to: Namespace,
  address: string,
  first: number,
  last: number,
): Promise<string> {
  const family = address.includes(":") ? ["6"] : [];
  const server = to.spawn([process.execPath, echo, "server", "7000", ...family], { stdio: ["ignore", "pipe", "pipe"] });
  try {
    await started(server, "ready");
    const client = [process.execPath, echo, "client", address, "7000", String(first), String(last)];
    return (await from.run(client, { timeoutMs: 60_000 })).trim();
  } finally {
    await ended(server);
  }
}
