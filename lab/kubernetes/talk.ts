// Pods and hosts talk over TCP and UDP, as one line there and one back, so that a test sees who answered.
import type { ChildProcess } from "node:child_process";
import type { Namespace } from "../namespace.ts";
import { until } from "../wait.ts";

/** The answer to GET / of the lab's pods: the name of the pod. Undefined without one. */
export async function httpName(from: Namespace, address: string, port = 8080): Promise<string | undefined> {
  const request = `GET / HTTP/1.0\r\nHost: ${bracketed(address)}\r\n\r\n`;
  const target = `TCP:${bracketed(address)}:${port},connect-timeout=2`;
  const { stdout } = await from.tryRun(["socat", "-t", "2", "-", target], { input: request });
  return /^HTTP\/1\.\d 200/.test(stdout) ? stdout.trim().split("\n").at(-1) : undefined;
}

/** Whether a datagram and its answer come through. The other side is a `UdpEcho`. */
export async function udpAnswers(from: Namespace, address: string, port: number): Promise<boolean> {
  const argv = ["socat", "-T", "1", "-", `UDP:${bracketed(address)}:${port}`];
  const { stdout } = await from.tryRun(argv, { input: "ping\n" });
  return stdout === "ping\n";
}

/** Sends UDP datagrams back to who sent them, on all addresses. */
export class UdpEcho implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Returns when it listens. */
  static async start(namespace: Namespace, port: number): Promise<UdpEcho> {
    const argv = ["socat", `UDP6-RECVFROM:${port},ipv6only=0,fork`, "EXEC:cat"];
    const echo = new UdpEcho(namespace.spawn(argv, { stdio: "ignore" }));
    const look = async () => (await namespace.run(["ss", "-Hlun", `sport = :${port}`])) !== "";
    await until(look, { what: `UDP port ${port} to be open` });
    return echo;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.kill("SIGKILL");
    await closed;
  }
}

/** Accepts one TCP connection on a port; `peer` is where it came from. */
export async function peerSeenBy(
  server: Namespace,
  port: number,
  connect: () => Promise<unknown>,
): Promise<string | undefined> {
  const argv = ["socat", "-d", "-d", `TCP6-LISTEN:${port},ipv6only=0,reuseaddr`, "SYSTEM:true"];
  const child = server.spawn(argv, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const closed = new Promise((resolve) => child.once("close", resolve));
  try {
    await until(() => said.includes("listening on"), { what: `TCP port ${port} to be open` });
    await connect();
    await until(() => said.includes("accepting connection from"), { what: `a connection to port ${port}` });
  } finally {
    child.kill("SIGKILL");
    await closed;
  }
  // IPv4 addresses stand in an IPv6 socket as ::ffff:1.2.3.4, all written out.
  const found = /accepting connection from AF=10 \[([^\]]+)\]/.exec(said)?.[1];
  return found === undefined ? undefined : plainAddress(found);
}

/** `0000:…:ffff:c0a8:320b` and `::ffff:192.168.50.11` as `192.168.50.11`. */
function plainAddress(text: string): string {
  const host = new URL(`http://[${text}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(host);
  if (mapped === null) return host;
  const words = [mapped[1], mapped[2]].map((word) => Number.parseInt(word ?? "", 16));
  return words.flatMap((word) => [word >> 8, word & 255]).join(".");
}

function bracketed(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}
