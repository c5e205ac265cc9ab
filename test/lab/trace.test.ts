// `flannelctl trace` between two hosts with containers: what is said where packets arrive, and where they get lost at each station
// that this host can see.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { type CommandResult, tryRun } from "../../lab/command.ts";
import type { Namespace } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import type { TraceOutput } from "../../src/cli/flannelctl/session/trace-output.ts";
import { parseOutput } from "../support/output-schema.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));
let cluster: Cluster;
let h1: Namespace;
let target: string;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 2, config: { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } } });
  h1 = cluster.lan.host(1).namespace;
  target = cluster.pod(2).ipv4 ?? "";
});
afterAll(() => cluster[Symbol.asyncDispose]());

function trace(...words: readonly string[]): Promise<CommandResult> {
  const { subnetFile, directory } = cluster.agent(1);
  const files = [`--subnet-file=${subnetFile}`, `--state-dir=${join(directory, "state")}`];
  const argv = [flannelctl, ...files, `--etcd-endpoints=${cluster.etcd.endpoints}`, "trace", ...words];
  return tryRun(h1.command(argv));
}

async function traced(
  address = target,
  ...flags: readonly string[]
): Promise<TraceOutput["networks"][number] & { readonly exitCode: number }> {
  const { stdout, stderr, exitCode } = await trace(address, "--json", ...flags);
  if (stdout === "") throw new Error(`flannelctl trace ended with ${exitCode}: ${stderr}`);
  const [network] = (parseOutput("trace", stdout) as TraceOutput).networks;
  if (network === undefined) throw new Error(stdout);
  return { ...network, exitCode: exitCode ?? -1 };
}

/** A chain of its own on a host, until the callback is done. */
async function withChain(host: Namespace, hook: string, rule: string, look: () => Promise<void>): Promise<void> {
  await host.nft(`table inet z {\n  chain f {\n    type filter hook ${hook} priority 0;\n    ${rule}\n  }\n}\n`);
  try {
    await look();
  } finally {
    await host.nft("delete table inet z\n");
  }
}

it("follows packets that arrive through every station there and back, and leaves nothing behind", async () => {
  const found = await traced();
  expect(found).toMatchObject({ exitCode: 0, place: "peer", lost: false, lease: { isOwn: false } });
  expect(found.lines.filter(({ verdict }) => verdict !== "ok")).toEqual([]);
  expect(new Set(found.lines.map(({ station }) => station))).toEqual(
    new Set(["route", "forward", "return", "neighbour", "fdb", "device", "mtu", "outside", "rules"]),
  );
  expect(found.live?.gaps).toEqual([]);
  expect(found.live?.hops.every(({ seen, of }) => seen === of && of === 3)).toBe(true);
  expect(found.live?.hops.map(({ text }) => text.split(",")[0]?.split(" (")[0])).toEqual([
    "sent by this host",
    "left flannel.1 here",
    "left eth0 here",
    "answer arrived at eth0 here",
    "answer came out of flannel.1 here",
    "answer delivered here",
  ]);
  expect(found.live?.fullSize).toEqual({ bytes: 1_450, sent: 2, answered: 2 });
  expect(await h1.run(["nft", "list", "tables"])).not.toContain("flannel-trace");
  const text = (await trace(target)).stdout;
  expect(text).toContain(`${target} is in `);
  expect(text).toMatch(
    /3 of 3 +left eth0 here, vxlan, UDP port 8472, to 192\.168\.50\.12 \(UDP \d+ > 8472, \d+ bytes\)/,
  );
});

it("sends from the address that the bridge has, whichever that is, and from the kernel's choice where it has none", async () => {
  const [, bridgePrefix = ""] = /inet (\S+)/.exec(await h1.run(["ip", "-4", "addr", "show", "dev", "cni0"])) ?? [];
  const otherPrefix = bridgePrefix.replace(/\.1\//, ".200/");
  expect(otherPrefix).not.toBe(bridgePrefix);
  await h1.run(["ip", "addr", "add", otherPrefix, "dev", "cni0"]);
  // Else the other one goes as well, as a secondary address.
  await h1.run(["sysctl", "-qw", "net.ipv4.conf.cni0.promote_secondaries=1"]);
  await h1.run(["ip", "addr", "del", bridgePrefix, "dev", "cni0"]);
  try {
    const found = await traced();
    expect(found).toMatchObject({ exitCode: 0, lost: false, live: { source: otherPrefix.split("/")[0] } });
    await h1.run(["ip", "addr", "del", otherPrefix, "dev", "cni0"]);
    const subnet = bridgePrefix.replace(/\.1\/\d+$/, ".9/32");
    // A container behind a device without an address.
    await h1.run(["ip", "route", "add", subnet, "dev", "cni0"]);
    const without = await traced();
    expect(without).toMatchObject({ exitCode: 0, lost: false });
    expect(without.live).not.toHaveProperty("source");
    await h1.run(["ip", "route", "del", subnet, "dev", "cni0"]);
  } finally {
    await h1.run(["ip", "-4", "addr", "flush", "dev", "cni0"]);
    await h1.run(["ip", "addr", "add", bridgePrefix, "dev", "cni0"]);
  }
});

it("says that the tunnel's packets leave and nothing comes back, and what the other host answers outside", async () => {
  const h2 = cluster.lan.host(2).namespace;
  await withChain(h2, "input", "udp dport 8472 drop", async () => {
    const found = await traced();
    expect(found).toMatchObject({ exitCode: 1, lost: true });
    expect(found.live?.hops.map(({ seen }) => seen)).toEqual([3, 3, 3, 0, 0, 0]);
    expect(found.live?.peer.map(({ name, answered }) => `${name} ${answered}`)).toEqual([
      "underlay 3",
      "tunnel 0",
      "bridge 0",
    ]);
    expect(found.verdict).toContain("answers outside of the tunnel and nothing inside does");
    expect(found.verdict).toContain("cannot be seen from here");
  });
});

it.each([
  ["output", `ip daddr 10.5.0.0/16 icmp type echo-request drop`, "request", false, "lost on this host"],
  ["output", "udp dport 8472 drop", "request", true, "lost on this host"],
  ["input", "udp dport 8472 drop", "reply", true, "lost on this host"],
  ["input", "icmp type echo-reply drop", "reply", false, "lost on this host"],
] as const)(
  "names the rule of this host in %s that drops packets: %s",
  async (hook, rule, packet, isOfTunnel, where) => {
    await withChain(h1, hook, rule, async () => {
      const found = await traced();
      expect(found).toMatchObject({ exitCode: 1, lost: true });
      expect(found.live?.drops[0]).toMatchObject({ chain: "inet z f", rule, packet, isOfTunnel });
      expect(found.verdict).toContain(where);
      expect(found.verdict).toContain(`inet z f drops`);
    });
  },
);

it("sees that containers' packets would be dropped, which those of the host are not", async () => {
  await withChain(h1, "forward", "ip daddr 10.5.0.0/16 drop", async () => {
    const found = await traced();
    expect(found.exitCode).toBe(1);
    const rules = found.lines.filter(({ station, verdict }) => station === "rules" && verdict === "bad");
    expect(rules[0]?.text).toContain("from cni0 to flannel.1");
    expect(rules[0]?.remedy).toContain("nft insert rule inet z f");
  });
});

it("sends as a container of this host would, and meets what only those meet", async () => {
  const well = await traced(target, "--as-container");
  expect(well.verdict).toContain("the packets arrive");
  expect(well).toMatchObject({ exitCode: 0, lost: false, live: { from: "container", answered: 3 } });
  expect(well.live?.hops.map(({ text }) => text.split(",")[0]?.split(" (")[0])).toEqual([
    ...["sent by the container", "came in by cni0 here", "left flannel.1 here", "left eth0 here"],
    ...["answer arrived at eth0 here", "answer came out of flannel.1 here", "answer left by cni0 here"],
    "answer delivered here",
  ]);
  expect(well.live?.hops.every(({ seen, of }) => seen === of)).toBe(true);
  // Once more at once: nobody has a wrong idea of who has the address.
  expect((await traced(target, "--as-container")).live?.answered).toBe(3);
  await withChain(h1, "forward", "iifname cni0 icmp type echo-request drop", async () => {
    const found = await traced(target, "--as-container");
    expect(found).toMatchObject({ exitCode: 1, lost: true });
    expect(found.live?.drops[0]).toMatchObject({ chain: "inet z f", packet: "request" });
    expect((await traced()).lost).toBe(false);
  });
  expect(await h1.run(["ip", "-br", "link"])).not.toContain("fltr");
});

it("shows the kernel beside what is desired where somebody changed it while the agent stands still", async () => {
  const { fdb } = await kernelOf();
  process.kill(cluster.agent(1).pid, "SIGSTOP");
  try {
    await h1.run(["bridge", "fdb", "replace", fdb.mac, "dev", "flannel.1", "dst", "192.168.50.99"]);
    // The agent does not answer: what it remembers does.
    const found = await traced();
    expect(found).toMatchObject({ exitCode: 1, lost: true });
    const line = found.lines.find(({ station }) => station === "fdb");
    expect(line).toMatchObject({ verdict: "differs", desired: `${fdb.mac} dst 192.168.50.12` });
    expect(line?.text).toContain("192.168.50.99");
    expect(found.cause).toContain("192.168.50.99");
  } finally {
    process.kill(cluster.agent(1).pid, "SIGCONT");
  }
  await until(async () => (await traced()).exitCode === 0, { what: "the agent's repair", intervalMs: 500 });
});

async function kernelOf(): Promise<{ fdb: { mac: string } }> {
  const stdout = await h1.run(["bridge", "fdb", "show", "dev", "flannel.1"]);
  const mac = /^(\S+) dst 192\.168\.50\.12/m.exec(stdout)?.[1];
  if (mac === undefined) throw new Error(stdout);
  return { fdb: { mac } };
}

it("has a clear answer for addresses that are nobody's, for hosts, for own containers, and for what is no address", async () => {
  const nobody = await traced("10.5.255.9");
  expect(nobody).toMatchObject({ exitCode: 1, place: "nobody" });
  expect(nobody.verdict).toContain("there is no host behind this address");
  expect(await traced("203.0.113.9")).toMatchObject({ exitCode: 1, place: "outside" });
  expect(await traced("192.168.50.12")).toMatchObject({ exitCode: 0, place: "host", lost: false });
  expect(await traced(cluster.pod(1).ipv4)).toMatchObject({ exitCode: 0, place: "here", lost: false });
  expect(await trace("10.5.0.0/16")).toMatchObject({ exitCode: 2 });
});

it("leaves no table when it is killed", async () => {
  const silent = target.replace(/\d+$/, "77");
  const argv = [flannelctl, `--subnet-file=${cluster.agent(1).subnetFile}`, "trace", silent, "--as-container"];
  const killed = h1.spawn(argv, { stdio: "ignore" });
  const ended = new Promise((resolve) => killed.once("close", resolve));
  const tables = async () => await h1.run(["nft", "list", "tables"]);
  await until(async () => (await tables()).includes("flannel-trace-"), { what: "the table", intervalMs: 10 });
  killed.kill("SIGKILL");
  await ended;
  await until(async () => !(await tables()).includes("flannel-trace-"), { what: "the table to be gone" });
  // The interface cannot go by itself: whoever comes next takes it away.
  const links = () => h1.run(["ip", "-br", "link"]);
  expect(await links()).toContain("fltr");
  expect((await traced(target, "--as-container")).lost).toBe(false);
  expect(await links()).not.toContain("fltr");
});
