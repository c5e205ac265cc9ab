// A network in a minute: `flannelctl init` on one host, `join` on each other, and what runs is what they print. What goes
// wrong is said before anything is written, and what was killed half-way is completed by running it again.

import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLan, type Lan } from "../../lab/lan.ts";
import { MemberHost } from "../../lab/member-host.ts";
import { attachPod } from "../../lab/pod.ts";
import { ping, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { parseOutput } from "../support/output-schema.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));

let lan: Lan;
let resources: AsyncDisposableStack;

beforeEach(async () => {
  resources = new AsyncDisposableStack();
  lan = resources.use(await createLan({ hosts: 3 }));
});

afterEach(() => resources.disposeAsync());

function member(number: number): MemberHost {
  return resources.use(new MemberHost(lan.host(number)));
}

async function modeOf(host: MemberHost, path: string): Promise<string> {
  return ((await stat(host.file(path))).mode & 0o777).toString(8);
}

async function peersOf(host: MemberHost): Promise<number> {
  return (await host.agent.status()).peers.programmed;
}

it("three hosts in three commands; one is removed, and comes back with a new token", async () => {
  const [h1, h2, h3] = [member(1), member(2), member(3)];
  const joinCommand = await h1.init();
  expect(await modeOf(h1, "var/lib/flannel-store/cluster")).toBe("700");
  for (const name of ["ca-key", "server-key", "admin-key"]) {
    expect(await modeOf(h1, `var/lib/flannel-store/cluster/${name}.pem`)).toBe("600");
  }
  await h1.startStore();
  h1.startAgent();
  await h2.join(joinCommand);
  await h3.join(await h1.createToken());
  expect(await modeOf(h3, "etc/flannel/host-key.pem")).toBe("600");
  for (const host of [h2, h3]) host.startAgent();
  for (const host of [h1, h2, h3]) await host.agent.untilReady({ peers: 2 });
  const pods = await Promise.all(
    [h1, h2, h3].map(async (host) => attachPod(host.host, await host.agent.untilSubnetEnv())),
  );
  await untilAllPing(pods);
  // At 3 a.m. on any host, without a flag about the store.
  for (const { host } of [h1, h2, h3]) expect(await h3.ctl("lease", "list")).toContain(host.ipv4);
  expect(await h2.ctl("status")).toMatch(/certificates +.* expires in 364 d/);

  // Both ends at once: any member may ask another one, by name or by address, and nobody else may.
  const ask = async (host: MemberHost, peer: string) => {
    const { stdout, stderr } = await host.tryCtl("--json", "doctor", "--timeout=30", `--peer=${peer}`);
    if (stdout === "") throw new Error(stderr);
    return parseOutput("doctor", stdout) as { peer: { host: string; reason?: string; report?: { subnets: string[] } } };
  };
  const subnet = (await h2.agent.status()).lease?.subnet;
  for (const named of ["h2", h2.host.ipv4 ?? ""]) {
    const { peer } = await ask(h3, named);
    expect(peer, JSON.stringify(peer)).toMatchObject({
      ...{ host: "h2", report: { agent: "running", subnets: [subnet] }, verdict: "all answer" },
    });
  }
  expect((await ask(h3, "nobody")).peer.reason).toContain("the cluster has no host nobody");

  expect(await h1.ctl("host", "remove", "h3")).toContain("10.5.");
  await until(async () => (await peersOf(h1)) === 1 && (await peersOf(h2)) === 1, { what: "the others to forget h3" });
  expect(await ping(pods[0]!.namespace, pods[2]!.ipv4 ?? "")).toBeUndefined();
  expect(await h3.tryCtl("lease", "list")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("refused") });
  await h3.agent.term();
  h3.startAgent();
  await h3.agent.untilEvent("config.unavailable");
  const status = await h3.agent.status();
  expect(status.state).toBe("notReady");
  expect(status.reasons.map(({ message }) => message).join()).toContain("refused");

  // The agent takes up what joining again has written, without being started again.
  await h3.join(await h1.createToken());
  h3.agent.signal("SIGHUP");
  for (const host of [h1, h2, h3]) await host.agent.untilReady({ peers: 2 });
  await untilAllPing(pods);
});

it("a host leaves: not while its agent runs, not without telling the store unless forced, and then without a trace", async () => {
  const [h1, h2] = [member(1), member(2)];
  const joinCommand = await h1.init();
  await h1.startStore();
  await h2.join(joinCommand);
  h2.startAgent();
  await h2.agent.untilReady();
  const leave = (...words: readonly string[]) => h2.tryCtl("leave", ...words);
  expect(await leave()).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(`(pid ${h2.agent.pid})`) });
  await h2.agent.term();
  await h1.stopStore();
  expect(await leave()).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("to leave without the store, use --force"),
  });
  expect(existsSync(h2.file("etc/flannel/flanneld.env"))).toBe(true);
  expect(await leave("--force")).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining("has left the cluster"),
  });
  expect(await h2.host.namespace.ip("-brief", "link")).not.toContain("flannel");
  expect(await h2.host.namespace.run(["find", h2.root, "-type", "f"])).toBe("");
  await h1.startStore();
  expect(await h1.ctl("host", "remove", "h2")).toContain("10.5.");
  // Nothing is left of it that would keep it from coming back.
  await h2.join(await h1.createToken());
  h2.startAgent();
  await h2.agent.untilReady();
  await h2.agent.term();
  const said = await h2.ctl("leave", "--json");
  parseOutput("leave", said);
  const left = JSON.parse(said);
  expect(left).toMatchObject({
    storeInformed: true,
    failures: [],
    releasedLeases: [expect.stringMatching(/^10\.5\./)],
  });
  expect(await h1.ctl("lease", "list")).toContain("no leases");
});

describe("what was asked cannot be", () => {
  const good = "aaaaaaaa.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

  /** One sentence on standard error, nothing on standard output, nothing written. */
  async function expectRefused(host: MemberHost, words: readonly string[], exitCode: number, reason: string) {
    const result = await host.tryCtl(...words, "--no-systemd");
    expect(result).toMatchObject({ exitCode, stdout: "" });
    expect(result.stderr).toContain(reason);
    // Besides what it is at ("  … asking").
    expect(result.stderr.split("\n").filter((line) => !/^(?: {2}|$)/.test(line))).toHaveLength(1);
  }

  it("is refused before anything is written", async () => {
    const h1 = member(1);
    const { namespace } = h1.host;
    const refused = (words: readonly string[], reason: string) => expectRefused(h1, words, 2, reason);
    await refused(["init", "--address", "store.lan"], "--address must be the IP address");
    await refused(["init", "--address", "0.0.0.0"], "--address must be the IP address");
    await refused(["init", "--name", "H 1"], "give a --name of");
    await refused(["init", "--port", "0"], "give a port from 1 to 65535");
    await refused(["init", "--token-ttl", "1y"], "give a time from 1s to 30d");
    await refused(["init", "--network", "10.5.0.0"], "--network 10.5.0.0: ");
    await refused(["init", "--config", "/nowhere.json"], "--config /nowhere.json: ");
    await refused(["init", "--network", "10.5.0.0/16", "--config", "/nowhere.json"], "--network or --config, not both");
    await refused(["join", "192.168.50.12"], "a token is missing");
    await refused(["join", "192.168.50.12", "--token", "secret"], "this is not a join token");
    await refused(["join", "http://192.168.50.12", "--token", good], "the store's address must be like");
    using other = namespace.spawn(["socat", "TCP-LISTEN:2379,reuseaddr,fork", "/dev/null"], { stdio: "ignore" });
    await until(async () => (await namespace.run(["ss", "-Hltn", "sport = :2379"])) !== "", {
      what: "socat to listen",
    });
    await refused(["init"], "2379 is in use by another program");
    other.kill("SIGKILL");
    await namespace.ip("addr", "add", "10.5.7.1/24", "dev", "eth0");
    await refused(["init"], "overlaps with 10.5.7.1/24 of eth0");
    await namespace.ip("addr", "del", "10.5.7.1/24", "dev", "eth0");
    await namespace.ip("route", "del", "default");
    await refused(["init"], "give the address under which other hosts reach it with --address (it has 192.168.50.11)");
    await expectRefused(h1, ["leave"], 1, "this host is not a member of a cluster");
    expect(existsSync(h1.root)).toBe(false);
  });

  it("nobody but root gets anywhere", async () => {
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const words = ["init", "--no-systemd"];
    const result = await lan.host(1).namespace.tryRun([...nobody, flannelctl, ...words]);
    expect(result).toMatchObject({ exitCode: 2, stdout: "" });
    expect(result.stderr).toContain("flannelctl init must be run as root: it writes /etc/flannel");
  });

  it("a store that is not there, not the right one, or has had enough of the token, is told apart", async () => {
    const [h1, h2, h3] = [member(1), member(2), member(3)];
    const refused = (host: MemberHost, words: readonly string[], reason: string) =>
      expectRefused(host, words, 1, reason);
    await refused(h2, ["join", "192.168.50.11", "--token", good], "firewalls allow TCP port 2379");
    const joinCommand = await h1.init();
    await h1.startStore();
    await refused(h2, ["join", "192.168.50.11", "--token", good], "is not the store that issued this token");
    await refused(h2, [...joinCommand, "--name", "h1"], "another host of this cluster is named h1");
    await refused(h1, ["init"], `this host already runs the store of a cluster, at 192.168.50.11:2379`);
    await refused(h1, ["init", "--port", "2400"], "is running on");
    await h2.join(joinCommand);
    await refused(h3, joinCommand, "has been used already, by host h2");
    await refused(h2, ["init"], "this host is already a member of the cluster at https://192.168.50.11:2379");
    await refused(h2, ["join", "192.168.50.13", "--token", good], "to remove it from there, run flannelctl");
    await refused(h1, ["leave"], "this host runs the store that all other hosts need");
  });
});
