import { get, type IncomingMessage } from "node:http";
import { expect, test } from "vitest";
import { until } from "../../../../lab/wait.ts";
import { flannelctl, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";
import { SimulatedAgent } from "../../../../test/support/simulated-agent.ts";
import type { FeedMessage } from "../../../dashboard/messages.ts";
import { Model } from "../../../dashboard/model.ts";
import { runFlannelctl } from "../program.ts";

const HOSTILE = "<img src=x onerror=alert(1)>\u001b]0;x\u0007\u202e";

/** `flannelctl dashboard` in this process, and what it wrote. */
class Running implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #ended: Promise<number>;
  stdout = "";
  stderr = "";

  constructor(argv: readonly string[]) {
    const terminal = {
      env: {},
      stdoutIsTty: false,
      writeOut: (text: string) => {
        this.stdout += text;
      },
      writeErr: (text: string) => {
        this.stderr += text;
      },
      readInput: () => Promise.resolve(""),
      nowMs: Date.now,
    };
    this.#ended = runFlannelctl(argv, terminal, this.#stop.signal, "1.2.3");
  }

  /** With a link in it. */
  async link(): Promise<URL> {
    return await until(() => this.stdout.includes("\n") && new URL(this.stdout.trim()), { what: "the link" });
  }

  async end(): Promise<number> {
    this.#stop.abort();
    return await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

function read(url: URL, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => get(url, { headers, agent: false }, resolve).on("error", reject));
}

/** Follows the feed as the page does. */
async function openPage(
  link: URL,
): Promise<{ readonly model: Model; readonly raw: () => string; readonly close: () => void }> {
  const { headers } = await read(link);
  const [cookie = ""] = (headers["set-cookie"]?.[0] ?? "").split(";");
  const feed = await read(new URL(`${headers.location}feed`, link), { cookie });
  const model = new Model();
  let raw = "";
  let rest = "";
  feed.setEncoding("utf8").on("data", (piece: string) => {
    raw += piece;
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) model.apply(JSON.parse(line) as FeedMessage);
  });
  return { model, raw: () => raw, close: () => feed.destroy() };
}

const optionsFor = (directory: TemporaryDirectory, socket: string) => [
  ...["--root", directory.path, "--socket", socket],
  // Nobody listens there.
  ...["--etcd-endpoints", "http://127.0.0.1:9"],
];

test("tells what the agent knows, as it changes, with hostile text made harmless, and ends with 0", async () => {
  using directory = new TemporaryDirectory();
  const socket = directory.file("flanneld.sock");
  await using agent = await SimulatedAgent.listen(socket, { peers: 3, hostile: HOSTILE });
  await using dashboard = new Running([...optionsFor(directory, socket), "dashboard", "--listen", "127.0.0.1:0"]);
  const link = await dashboard.link();
  expect(dashboard.stderr).toContain("it works once");
  // Nobody watches yet: nothing is asked.
  expect(agent.requests).toEqual([]);
  const { model, raw, close } = await openPage(link);
  const network = () => model.networks.get("/coreos.com/network");
  await until(() => network()?.peers.size === 3 && network()?.plan !== undefined && model.entries.length > 0, {
    what: "the peers",
  });
  await until(() => model.doctor !== undefined, { what: "the doctor" });
  const peers = [...(network()?.peers.values() ?? [])];
  expect(peers[0]).toMatchObject({ state: "up", subnets: ["10.64.0.0/24"], mtuBytes: 1450 });
  expect(peers[0]?.host).toContain("<img src=x onerror=alert(1)>\\x1b]0;x\\x07\\u202e");
  for (const harmful of ["\u001b", "\\u001b", "\u202e"]) expect(raw()).not.toContain(harmful);
  agent.setState(1, "down");
  agent.tell("probe.peer-down", "one is down", "warn");
  await until(() => model.entries.at(-1)?.event === "probe.peer-down", { what: "the event" });
  await until(() => [...(network()?.peers.values() ?? [])].some(({ state }) => state === "down"), {
    what: "the change",
  });
  await until(() => network()?.space?.source === "agent", { what: "the store's silence to be reported" });
  expect(network()?.space?.leases).toHaveLength(4);
  await until(() => model.sources.get("store")?.problem !== undefined, { what: "why" });
  await until(() => [...(network()?.peers.values() ?? [])][0]?.device === "flannel.1", { what: "the way of a peer" });
  close();
  expect(await dashboard.end()).toBe(0);
  expect(dashboard.stderr).toContain("opened from 127.0.0.1; a link for another browser: http://127.0.0.1:");
});

test("without an agent the page says so", async () => {
  using directory = new TemporaryDirectory();
  const argv = [...optionsFor(directory, directory.file("none.sock")), "dashboard", "--listen", "127.0.0.1:0"];
  await using dashboard = new Running(argv);
  const { model, close } = await openPage(await dashboard.link());
  await until(() => model.sources.get("agent")?.problem?.includes("no flanneld listens") === true, {
    what: "the problem",
  });
  close();
});

test("several networks are distinguished", async () => {
  using directory = new TemporaryDirectory();
  const socket = directory.file("flanneld.sock");
  await using _agent = await SimulatedAgent.listen(socket, { peers: 2, networks: ["blue", "red"] });
  await using dashboard = new Running([...optionsFor(directory, socket), "dashboard", "--listen", "127.0.0.1:0"]);
  const { model, close } = await openPage(await dashboard.link());
  await until(() => model.networks.get("red")?.peers.size === 2 && model.networks.get("blue")?.peers.size === 2, {
    what: "both",
  });
  close();
});

test("--json prints one document; elsewhere than on loopback TLS is demanded", async () => {
  using directory = new TemporaryDirectory();
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 1_000);
  const argv = [
    ...optionsFor(directory, directory.file("none.sock")),
    "dashboard",
    "--listen",
    "127.0.0.1:0",
    "--json",
  ];
  const { stdout, stderr, exitCode } = await flannelctl(argv, { signal: stop.signal });
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  const { url, origin } = JSON.parse(stdout) as { url: string; origin: string };
  expect(url.startsWith(`${origin}/?token=`)).toBe(true);
  const refused = await flannelctl(["dashboard", "--listen", "0.0.0.0:8475"]);
  expect(refused).toMatchObject({ exitCode: 2, stdout: "" });
  expect(refused.stderr).toMatch(/--tls-cert/);
});
