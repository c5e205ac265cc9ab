// What an operator can ask a real agent: what changed and why, which lease an address belongs to, how the peers fare; and to
// watch all that.
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { until } from "../../lab/wait.ts";
import type { History, Peers, Why } from "../../src/agent/control/journal-protocol.ts";
import { Scene } from "../support/scene.ts";
import { leaseDirectory, putConfig, putPeers, storePeer } from "../support/store-peers.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));
let scene: Scene;
let agent: LabAgent;

beforeAll(async () => {
  scene = await Scene.open(1);
  await scene.clear();
  await putConfig(scene.etcd);
  await putPeers(scene.etcd, [storePeer(1), storePeer(2)]);
  agent = scene.start(1);
  await agent.untilReady({ peers: 2 });
});
afterAll(() => scene[Symbol.asyncDispose]());

const ctl = (...words: readonly string[]) => scene.ctl(agent, ...words);
const json = async <T>(...words: readonly string[]) => JSON.parse((await ctl(...words, "--json")).stdout) as T;

it("history tells of a new lease, who wrote it, and the kernel objects that followed", async () => {
  await putPeers(scene.etcd, [storePeer(3)]);
  await agent.untilReady({ peers: 3 });
  const { subnet, publicIp } = storePeer(3);
  const { entries } = await json<History>("history", "--about", subnet.replace(/\.0\/24$/, ""));
  const seen = entries.find(({ event }) => event === "lease.seen");
  expect(seen).toMatchObject({ level: "detail", cause: { type: "lease", by: publicIp } });
  const written = entries.filter(({ event }) => event === "host.object");
  expect(written.length).toBeGreaterThan(0);
  expect(written[0]?.cause).toEqual({ type: "lease", revision: seen?.cause?.revision });
});

it("why names the lease of an address, and what is in the kernel because of it", async () => {
  const { subnet, publicIp } = storePeer(2);
  const address = subnet.replace("0/24", "9");
  const { networks } = await json<Why>("why", address);
  expect(networks[0]).toMatchObject({
    lease: { subnet, publicIp, isOwn: false },
    peer: { key: expect.any(String) },
    backendType: "vxlan",
  });
  const objects = networks[0]?.objects ?? [];
  // Of vxlan a route, a neighbour and an FDB entry.
  expect(objects.map(({ programmed }) => programmed)).toEqual([true, true, true]);
  expect(objects.some(({ object }) => object.startsWith(subnet))).toBe(true);
  expect((await ctl("why", address)).stdout).toContain(
    `${address}  <- reservation 10.5.102.0-24 of the host ${publicIp}`,
  );
  expect(await ctl("why", "203.0.113.7")).toMatchObject({ exitCode: 1 });
  const own = (await agent.status()).lease?.subnet ?? "";
  expect(await json<Why>("why", own)).toMatchObject({ networks: [{ lease: { isOwn: true } }] });
});

it("events --follow tells of a repair while it happens, as a line of JSON", async () => {
  const { namespace } = agent.host;
  const argv = [flannelctl, "events", "--follow", "--json", "--limit", "0", "--socket", agent.controlSocket];
  const follower = namespace.spawn(argv, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  follower.stdout?.setEncoding("utf8").on("data", (piece: string) => {
    text += piece;
  });
  const ended = new Promise((resolve) => follower.once("close", resolve));
  try {
    const { subnet } = storePeer(1);
    await until(
      async () => {
        // Again, should the stream not have begun the first time; seldom enough not to be a contest.
        await namespace.ip("route", "del", subnet).catch(() => undefined);
        return text.includes("host.repaired");
      },
      { what: "the repair to be told", intervalMs: 1_000 },
    );
    const entries = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as History["entries"][number]);
    const object = entries.find(({ event, message }) => event === "host.object" && message.includes(subnet));
    expect(object?.cause).toEqual({ type: "notification" });
  } finally {
    follower.kill("SIGINT");
  }
  expect(await ended).toBe(130);
});

it("peers lists what leases and kernel say, and shows hostile text harmless", async () => {
  const key = `${leaseDirectory}10.5.250.0-24`;
  const value = JSON.stringify({
    PublicIP: "192.0.2.250",
    BackendType: "vx\u001b[2Jlan\u001b]0;x\u0007",
    BackendData: {},
  });
  await scene.etcd.put(key, value);
  await until(async () => (await ctl("peers")).stdout.includes("10.5.250.0-24"), {
    what: "the odd lease to be listed",
  });
  const { stdout } = await ctl("peers", "--wide");
  expect(stdout).not.toContain("\u001b");
  expect(stdout).toMatch(/10\.5\.250\.0-24 +192\.0\.2\.250 +skipped/);
  const { networks } = await json<Peers>("peers", "--sort", "name");
  const peer = networks[0]?.peers.find(({ subnet }) => subnet === storePeer(1).subnet);
  // Nobody answers probes there: the host exists in the store alone.
  expect(["programmed", "suspect", "down", "unknown"]).toContain(peer?.state);
  expect(peer?.mtuBytes).toBe(1450);
  await scene.etcd.ctl(["del", key]);
});

/** `flannelctl watch` on a terminal of its own; Ctrl-C is typed once `isSeen`. In the place of the shell: some end of Ctrl-C as well. */
async function watchOnTerminal(
  term: string,
  isSeen: (text: string) => boolean,
): Promise<{ readonly text: string; readonly exitCode: unknown }> {
  const command = `exec ${flannelctl} watch --interval 0.3 --socket ${agent.controlSocket}`;
  const child = agent.host.namespace.spawn(["script", "-qfec", command, "/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, TERM: term },
  });
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (piece: string) => {
    text += piece;
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  try {
    await until(() => Promise.resolve(isSeen(text)), { what: "two screens" });
    child.stdin?.write("\u0003");
    return { exitCode: await ended, text };
  } finally {
    child.kill("SIGKILL");
  }
}

const screens = (text: string) => text.split("flanneld ").length - 1;

it("watch draws in place on a terminal, and Ctrl-C restores it", async () => {
  const { text, exitCode } = await watchOnTerminal("xterm", (shown) => screens(shown) >= 2);
  expect(text.startsWith("\u001b[?1049h\u001b[?25l")).toBe(true);
  expect(text).toContain("10.5.");
  expect(text.trimEnd().endsWith("\u001b[?25h\u001b[?1049l")).toBe(true);
  expect(exitCode).toBe(130);
});

it("watch works on a dumb terminal, without a code", async () => {
  const { text, exitCode } = await watchOnTerminal("dumb", (shown) => screens(shown) >= 2);
  expect(text).not.toContain("\u001b");
  expect(exitCode).toBe(130);
});
