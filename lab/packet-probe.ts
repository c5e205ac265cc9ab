// UDP packets between two namespaces, counted and timed by a small C program: iperf3 and ping are slower than what is
// to be measured, or make too few.
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { compiled } from "./compiled.ts";
import type { Namespace } from "./namespace.ts";
import { DEADLINE_MS, until } from "./wait.ts";

const source = fileURLToPath(new URL("packet-probe.c", import.meta.url));
const PORT = { count: 7_002, gap: 7_003, echo: 7_004 } as const;
/** What is still under way when the sender ends. */
const DRAIN_MS = 200;

/** A child that works until its standard input ends. */
class Helper {
  readonly #child: ChildProcess;
  #output = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#output += text;
    });
  }

  static async start(namespace: Namespace, argv: readonly string[]): Promise<Helper> {
    const child = namespace.spawn([await compiled(source), ...argv], { stdio: ["pipe", "pipe", "inherit"] });
    const helper = new Helper(child);
    const listens = argv[0] !== "send";
    if (listens) await until(() => helper.#output.includes("listening"), { what: `packet-probe ${argv.join(" ")}` });
    return helper;
  }

  /** Its last line. */
  async finish(): Promise<string> {
    const closed = once(this.#child, "close");
    this.#child.stdin?.end();
    await closed;
    return this.#output.trim().split("\n").at(-1) ?? "";
  }
}

/** Datagrams with `bytes` of payload, as fast as the sender can: those that arrived, for each second. */
export async function receivedPerSecond(
  from: Namespace,
  to: Namespace,
  address: string,
  options: { readonly bytes: number; readonly seconds: number },
): Promise<number> {
  const receiver = await Helper.start(to, ["receive", String(PORT.count)]);
  const { bytes, seconds } = options;
  const flood = [await compiled(source), "flood", address, String(PORT.count), String(bytes), String(seconds)];
  await from.run(flood, { timeoutMs: seconds * 1_000 + DEADLINE_MS });
  await new Promise((resolve) => setTimeout(resolve, DRAIN_MS));
  const [packets = 0, took = 0] = (await receiver.finish()).split(" ").map(Number);
  return packets / took;
}

/** Answers round trips until disposed of. */
export async function startEcho(namespace: Namespace): Promise<AsyncDisposable> {
  const helper = await Helper.start(namespace, ["echo", String(PORT.echo)]);
  return { [Symbol.asyncDispose]: async () => void (await helper.finish()) };
}

/** Round trips of 64 bytes, one at a time, in microseconds; a lost one counts a second. */
export async function roundTrips(
  from: Namespace,
  address: string,
  options: { readonly count: number; readonly pauseUs: number },
): Promise<readonly number[]> {
  const { count, pauseUs } = options;
  const argv = [
    await compiled(source),
    "round-trips",
    address,
    String(PORT.echo),
    "64",
    String(count),
    String(pauseUs),
  ];
  const text = await from.run(argv, { timeoutMs: 60_000 });
  return text.trim().split("\n").map(Number);
}

/** The longest time in milliseconds between two arrivals of a datagram sent every millisecond, while `act` runs. */
export async function longestGapMs(
  from: Namespace,
  to: Namespace,
  address: string,
  act: () => Promise<void>,
): Promise<number> {
  const receiver = await Helper.start(to, ["longest-gap", String(PORT.gap)]);
  const sender = await Helper.start(from, ["send", address, String(PORT.gap), "1000"]);
  await new Promise((resolve) => setTimeout(resolve, DRAIN_MS));
  await act();
  await new Promise((resolve) => setTimeout(resolve, DRAIN_MS));
  await sender.finish();
  return Number(await receiver.finish());
}

/** How many datagrams were sent, one every `everyUs`, while `act` runs, and how many of them arrived. */
export async function carriedWhile(
  from: Namespace,
  to: Namespace,
  address: string,
  everyUs: number,
  act: () => Promise<void>,
): Promise<{ readonly sent: number; readonly arrived: number }> {
  const receiver = await Helper.start(to, ["receive", String(PORT.count)]);
  const sender = await Helper.start(from, ["send", address, String(PORT.count), String(everyUs)]);
  await act();
  const sent = Number(await sender.finish());
  await new Promise((resolve) => setTimeout(resolve, DRAIN_MS));
  const [arrived = 0] = (await receiver.finish()).split(" ").map(Number);
  return { sent, arrived };
}
