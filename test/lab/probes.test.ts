// Probes on the real data path: a dead peer, a tunnel that loses packets in one direction or both, and what only looks dead, each
// seen within seconds, told in status, log, metrics and state, and over when it is mended.
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LabAgent, LabStatus } from "../../lab/agent.ts";
import { Cluster } from "../../lab/cluster.ts";
import { tryRun } from "../../lab/command.ts";
import { dropUdp, dropUdpOneWay, partition } from "../../lab/faults.ts";
import type { Namespace } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));

type ProbedPath = NonNullable<LabStatus["probes"]>["paths"][number];

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3, config: { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } } });
  await untilAllUp();
});

afterAll(() => cluster[Symbol.asyncDispose]());

async function pathOf(agent: LabAgent, peer: number): Promise<ProbedPath | undefined> {
  const { probes } = await agent.status();
  return probes?.paths.find(({ publicIp }) => publicIp === cluster.lan.host(peer).ipv4);
}

function untilPath(number: number, peer: number, is: (path: ProbedPath) => boolean, what: string): Promise<ProbedPath> {
  return until(
    async () => {
      const path = await pathOf(cluster.agent(number), peer);
      return path !== undefined && is(path) ? path : undefined;
    },
    { what: `h${peer} ${what} on h${number}`, intervalMs: 50 },
  );
}

async function untilAllUp(): Promise<void> {
  for (const agent of cluster.agents.filter(({ isRunning }) => isRunning)) {
    await until(async () => (await agent.status()).probes?.states.up === 2, { what: `all up on ${agent.host.name}` });
  }
}

async function discarded(agent: LabAgent): Promise<number> {
  return Object.values(await agent.metric("flannel_probe_rounds_discarded_total")).reduce(
    (sum, count) => sum + count,
    0,
  );
}

function reasonsOf(agent: LabAgent): Promise<string[]> {
  return agent.status().then(({ reasons }) => reasons.map(({ name }) => name));
}

it("tells what it knows of peers that answer", async () => {
  const path = await untilPath(1, 2, ({ sent }) => sent > 5, "probed some times");
  expect(path).toMatchObject({ state: "up", signature: expect.stringMatching(/tunnel\+/) });
  expect(path.rttSeconds?.p50).toBeGreaterThan(0);
  expect(path.rttSeconds?.p99).toBeLessThan(1);
  expect(await cluster.agent(1).metric("flannel_peers")).toMatchObject({ "state=up": 2, "state=down": 0 });
});

describe("a peer whose cable is cut", () => {
  it("is suspect within 4 s and down within 6, a fact in state, log and metrics, and up again", async () => {
    const agent = cluster.agent(1);
    const before = await discarded(agent);
    const undo = await partition(cluster.lan.host(2));
    const cutAt = Date.now();
    const path = await untilPath(1, 2, ({ state }) => state === "down", "down");
    // On a machine without processor time rounds are not judged.
    if ((await discarded(agent)) === before) expect(Date.parse(path.since) - cutAt).toBeLessThan(6_000);
    expect(path.why).toContain("its host does not answer either");
    expect(await reasonsOf(agent)).toEqual(["peer-down"]);
    expect(await agent.untilEvent("probe.peer-down")).toContain(path.subnet);
    expect(await agent.metric("flannel_peers")).toMatchObject({ "state=up": 1, "state=down": 1 });
    // The host that was cut off sees nobody: that is its own trouble.
    const cutOff = cluster.agent(2);
    await until(async () => (await reasonsOf(cutOff)).includes("all-peers-down"), { what: "h2 to see nobody" });
    await until(async () => (await cutOff.status()).state === "notReady", { what: "h2 to tell it after 10 s" });
    await undo();
    await untilAllUp();
    expect(await agent.untilEvent("probe.peer-up")).toContain(path.subnet);
    expect(await reasonsOf(agent)).toEqual([]);
  });
});

describe("a tunnel that loses packets", () => {
  it("in one direction is one way, and each end says which", async () => {
    const [h1, h2] = [cluster.lan.host(1), cluster.lan.host(2)];
    const undo = await dropUdpOneWay(h1, h2, 8472);
    const isOneWay = ({ state }: ProbedPath) => state === "oneWay";
    const [here, there] = await Promise.all([
      untilPath(1, 2, isOneWay, "one way"),
      untilPath(2, 1, isOneWay, "one way"),
    ]);
    expect([here.direction, there.direction]).toEqual(["out", "in"]);
    expect(here.why).toContain("ours do not arrive there");
    expect(await cluster.agent(1).untilEvent("probe.peer-one-way")).toContain(here.subnet);
    await undo();
    await untilAllUp();
  });

  it("in both is down, while the host answers outside of it", async () => {
    const undo = await dropUdp(8472);
    const path = await untilPath(1, 2, ({ state }) => state === "down", "down");
    expect(path.signature).toContain("underlay+ tunnel-");
    expect(path.why).toContain("its host answers outside of the tunnel");
    await until(async () => (await reasonsOf(cluster.agent(1))).includes("all-peers-down"), { what: "all to be down" });
    await undo();
    await untilAllUp();
  });
});

describe("a peer that is not dead", () => {
  it("without its agent: the kernel answers", async () => {
    await cluster.agent(3).kill9();
    const { sent = 0 } = (await pathOf(cluster.agent(1), 3)) ?? {};
    const path = await untilPath(1, 3, (now) => now.sent > sent + 6 || now.sent === 64, "probed on");
    expect(path.state).toBe("up");
  });

  it("while it filters ICMP: TCP is the second witness", async () => {
    const { namespace } = cluster.lan.host(3);
    await namespace.run(["iptables", "-I", "INPUT", "-p", "icmp", "-j", "DROP"]);
    const path = await untilPath(1, 3, ({ why }) => why?.includes("TCP does") === true, "known by TCP");
    expect(path.state).toBe("up");
    await namespace.run(["iptables", "-D", "INPUT", "-p", "icmp", "-j", "DROP"]);
    await untilPath(1, 3, ({ why, state }) => why === undefined && state === "up", "known by ICMP again");
  });

  it("while it filters every probe and containers talk: nobody knows, and it is not called down", async () => {
    const { namespace } = cluster.lan.host(3);
    const drops = [
      ["-p", "icmp"],
      ["-p", "tcp", "--dport", "9"],
    ].map((match) => ["INPUT", ...match, "-j", "DROP"]);
    const downs = () => cluster.agent(1).events("probe.peer-down").length;
    const before = downs();
    const talk = await startTalk(cluster.pod(1).namespace, cluster.pod(3).namespace, cluster.pod(3).ipv4 ?? "");
    try {
      for (const rule of drops) await namespace.run(["iptables", "-I", ...rule]);
      const path = await untilPath(
        1,
        3,
        ({ why }) => why?.includes("TCP of its containers") === true,
        "known by traffic",
      );
      expect(path.state).toBe("unknown");
      expect(downs()).toBe(before);
    } finally {
      talk();
      for (const rule of drops) await namespace.run(["iptables", "-D", ...rule]);
    }
    await untilPath(1, 3, ({ state }) => state === "up", "known by ICMP again");
  });

  it("and one that is: its tunnel device is gone", async () => {
    await cluster.lan.host(3).namespace.ip("link", "del", "dev", "flannel.1");
    const path = await untilPath(1, 3, ({ state }) => state === "down", "down");
    expect(path.signature).toContain("underlay+ tunnel-");
    cluster.startAgent(3);
    await untilAllUp();
  });
});

it("is asked by a person: each layer, and which one loses the packets", async () => {
  const ping = async (...words: string[]) => {
    const argv = [flannelctl, `--subnet-file=${cluster.agent(1).subnetFile}`, "ping", ...words];
    return await tryRun(cluster.lan.host(1).namespace.command(argv));
  };
  const target = cluster.pod(2).ipv4 ?? "";
  const well = await ping(target);
  expect([well.exitCode, well.stdout]).toEqual([
    0,
    expect.stringMatching(/underlay .* ok\n.*tunnel .* ok\n.*bridge .* ok\n.*container .* ok/),
  ]);
  const undo = await dropUdp(8472);
  const lost = await ping(target, "--json", "--count=2");
  expect(lost.exitCode).toBe(1);
  const { peers } = JSON.parse(lost.stdout) as {
    peers: { verdict: string; legs: { name: string; answered: number }[] }[];
  };
  expect(peers[0]?.legs.map(({ name, answered }) => `${name} ${answered}`)).toEqual([
    "underlay 2",
    "tunnel 0",
    "bridge 0",
    "container 0",
  ]);
  expect(peers[0]?.verdict).toContain("lost in the tunnel");
  await undo();
  const large = await ping(target, "--size=1451");
  expect(large.stdout).toContain("larger than the MTU of the device");
  const stranger = await ping("192.0.2.1");
  expect([stranger.exitCode, stranger.stderr]).toEqual([2, expect.stringContaining("is no peer's public address")]);
});

it("does not probe when told so", async () => {
  await cluster.agent(3).kill9();
  const agent = cluster.startAgent(3, ["--probe-interval=0"]);
  await agent.untilReady({ peers: 2 });
  expect((await agent.status()).probes).toBeUndefined();
});

/** A TCP connection between two containers on which something is said ten times a second; returns how to end it. */
async function startTalk(from: Namespace, to: Namespace, address: string): Promise<() => void> {
  const listen = `require("node:net").createServer((s) => s.pipe(s).on("error", () => 0)).listen(7000, "0.0.0.0", () => console.log("on"))`;
  const speak = `const s = require("node:net").connect(7000, "${address}", () => { console.log("on"); setInterval(() => s.write("x"), 100) }); s.resume()`;
  const children = [to, from].map((namespace, at) => () => {
    return namespace.spawn([process.execPath, "-e", [listen, speak][at] ?? ""], {
      stdio: ["ignore", "pipe", "inherit"],
    });
  });
  const running: ReturnType<Namespace["spawn"]>[] = [];
  const end = () => {
    for (const child of running) child.kill("SIGKILL");
  };
  for (const start of children) {
    const child = start();
    running.push(child);
    await new Promise((resolve, reject) => {
      child.stdout?.once("data", resolve);
      // Nothing may outlive the test: it would hold its output open.
      child.once("exit", () => {
        end();
        reject(new Error("no connection between the containers"));
      });
    });
  }
  return end;
}
