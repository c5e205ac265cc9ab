// Runs on a kernel that has WireGuard: three hosts with upstream's flanneld and ours, changed from one to the other in both orders.
// Prints one line of JSON for each question; wireguard-upstream.test.ts asks and judges. Argument: upstream's program.
import { type ChildProcess, execFileSync } from "node:child_process";
import { writeSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Cluster } from "../../../lab/cluster.ts";
import type { LabHost } from "../../../lab/host.ts";
import { addresses, link, routes } from "../../../lab/kernel-view.ts";
import { attachPod, type Pod } from "../../../lab/pod.ts";
import { ContinuousPing, untilAllPing } from "../../../lab/probe.ts";
import { readSubnetEnv, type SubnetEnv } from "../../../lab/subnet-env.ts";
import { until } from "../../../lab/wait.ts";

/** Everything takes some ten times as long as on the machine. */
const timeoutMs = 300_000;
const PING_EVERY_MS = 50;
const devices = ["flannel-wg", "flannel-wg-v6"] as const;
const [, , program = ""] = process.argv;
const flannelctl = fileURLToPath(new URL("../../../bin/flannelctl", import.meta.url));
const network = { Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fd00:5::/48" };
const presharedKey = Buffer.alloc(32, 9).toString("base64");

/** At once: what a console has not written yet is lost with the guest. */
const tell = (name: string, value: unknown): void => {
  writeSync(1, `${JSON.stringify({ [name]: value })}\n`);
};

const keyFile = (host: LabHost) => join(host.runDirectory, "wgkey");
const subnetFile = (host: LabHost) => join(host.runDirectory, "subnet.env");

class Upstream {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  said = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#ended = new Promise((resolve) => child.once("close", resolve));
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.said += text;
      });
    }
  }

  /** Resolves when it has written subnet.env and has made a peer of each other host. */
  static async start(cluster: Cluster, host: LabHost, peers: number): Promise<Upstream> {
    await mkdir(host.runDirectory, { recursive: true });
    await rm(subnetFile(host), { force: true });
    const flags = [`--etcd-endpoints=${cluster.etcd.endpoints}`, `--subnet-file=${subnetFile(host)}`, "--iface=eth0"];
    const env = { ...process.env, WIREGUARD_KEY_FILE: keyFile(host) };
    const upstream = new Upstream(
      host.namespace.spawn([program, ...flags], { env, stdio: ["ignore", "pipe", "pipe"] }),
    );
    const look = async () => {
      if ((await readSubnetEnv(subnetFile(host))) === undefined) throw new Error(upstream.said.slice(-2_000));
      const found = await peerCount(host);
      if (found === peers) return true;
      throw new Error(`${found} of ${peers} peers; ${upstream.said.slice(-2_000)}`);
    };
    await until(look, { what: `upstream on ${host.name}`, timeoutMs, intervalMs: 500 });
    return upstream;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill(signal);
    await this.#ended;
  }
}

async function peerCount({ namespace }: LabHost): Promise<number> {
  const counts = await Promise.all(
    devices.map(async (device) => (await namespace.run(["wg", "show", device, "peers"])).trim().split("\n")),
  );
  const [first = [], second = []] = counts.map((lines) => lines.filter((line) => line !== ""));
  if (first.length !== second.length) throw new Error(`${first.length} and ${second.length} peers`);
  return first.length;
}

async function envOf(host: LabHost): Promise<SubnetEnv> {
  const env = await readSubnetEnv(subnetFile(host));
  if (env === undefined) throw new Error(`${host.name} has no subnet.env`);
  return env;
}

/** What `wg` and `ip` show of the devices; the order of peers says nothing. */
async function view({ namespace }: LabHost): Promise<string> {
  const shown = devices.map(async (device) => {
    const blocks = (await namespace.run(["wg", "showconf", device])).trim().split("\n\n").sort();
    const { mtuBytes, kind } = (await link(namespace, device)) ?? {};
    return [
      device,
      mtuBytes,
      kind,
      ...blocks,
      ...(await addresses(namespace, device)),
      ...(await routes(namespace, "dev", device)),
    ];
  });
  return (await Promise.all(shown)).flat().join("\n");
}

async function indices({ namespace }: LabHost): Promise<readonly (number | undefined)[]> {
  return await Promise.all(devices.map(async (device) => (await link(namespace, device))?.index));
}

async function lostWhile(from: Pod, to: Pod, act: () => Promise<void>): Promise<readonly number[]> {
  await using ipv4 = await ContinuousPing.start(from.namespace, to.ipv4 ?? "", PING_EVERY_MS);
  await using ipv6 = await ContinuousPing.start(from.namespace, to.ipv6 ?? "", PING_EVERY_MS);
  await act();
  await Promise.all([ipv4.more(40, timeoutMs), ipv6.more(40, timeoutMs)]);
  return (await Promise.all([ipv4.stop(), ipv6.stop()])).map(({ lost }) => lost.length);
}

async function main(): Promise<void> {
  execFileSync("modprobe", ["br_netfilter"]); // upstream asks for it
  await using cluster = await Cluster.start({
    ...{ hosts: 3, ipv6: true, withoutAgent: [1, 2, 3] },
    config: { ...network, Backend: { Type: "wireguard", PSK: presharedKey } },
    launch: (host) => ({ env: { WIREGUARD_KEY_FILE: keyFile(host) } }),
  });
  const [h1, h2, h3] = [cluster.lan.host(1), cluster.lan.host(2), cluster.lan.host(3)];
  const ready = (number: number) => cluster.agent(number).untilReady({ peers: 2, timeoutMs });
  let upstream1 = await Upstream.start(cluster, h1, 0);
  await Upstream.start(cluster, h2, 1);
  cluster.startAgent(3);
  await ready(3);
  const pods = [await attachPod(h1, await envOf(h1)), await attachPod(h2, await envOf(h2)), await cluster.attachPod(3)];
  const [pod1, , pod3] = pods as [Pod, Pod, Pod];
  const untilAllTalk = async (step: string) => {
    await untilAllPing(pods, timeoutMs);
    tell(step, "all pairs");
  };
  await untilAllTalk("mixed");
  const ofUpstream = await view(h1);
  const indicesBefore = await indices(h1);

  const killed = await lostWhile(pod3, pod1, async () => {
    await upstream1.end("SIGKILL");
    cluster.startAgent(1);
    await ready(1);
  });
  const isSameView = async (host: LabHost, wanted: string) => {
    await until(async () => (await view(host)) === wanted, { what: "the same view", timeoutMs }).catch(() => undefined);
    const found = await view(host);
    return found === wanted || { found, wanted };
  };
  const isKept = (await indices(h1)).join() === indicesBefore.join();
  tell("killed upstream to ours", { lost: killed, isKept, isSame: await isSameView(h1, ofUpstream) });
  await untilAllTalk("h1 ours");

  const rotate = [flannelctl, "wireguard", "rotate", "--socket", cluster.agent(3).controlSocket];
  const { exitCode, stdout, stderr } = await h3.namespace.tryRun(rotate, { timeoutMs });
  tell("rotated beside upstream", { exitCode, said: stdout + stderr });
  await untilAllTalk("h3 with another key");

  await cluster.agent(1).term();
  upstream1 = await Upstream.start(cluster, h1, 2);
  await untilAllTalk("h1 upstream again");
  await upstream1.end("SIGTERM");
  cluster.startAgent(1);
  await ready(1);
  await untilAllTalk("stopped upstream to ours");

  const ofOurs = await view(h3);
  await cluster.agent(3).term();
  const upstream3 = await Upstream.start(cluster, h3, 2);
  tell("ours to upstream", { isSame: await isSameView(h3, ofOurs) });
  await untilAllTalk("h3 upstream");
  await upstream3.end("SIGKILL");
  cluster.startAgent(3);
  await ready(3);
  tell("and back", { isSame: await isSameView(h3, ofOurs) });
  await untilAllTalk("h3 ours again");
}

try {
  await main();
} catch (error) {
  tell("failed", error instanceof Error ? error.message : String(error));
}
process.exit(0);
