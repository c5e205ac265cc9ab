// Everything that the wireguard backend has on a host is damaged in every way that `ip`, `wg` and `kill` know, with
// wireguard-go: all of it is put back, and packets flow.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, it } from "vitest";
import { Cluster } from "../../../lab/cluster.ts";
import type { LabHost } from "../../../lab/host.ts";
import { addresses, link, routes } from "../../../lab/kernel-view.ts";
import { boxNamespace } from "../../../lab/namespace.ts";
import { untilAllPing } from "../../../lab/probe.ts";
import { until } from "../../../lab/wait.ts";
import { socketFile, wg, wgDump, wireguardAgent } from "../../../lab/wireguard-host.ts";
import { expectHealed } from "../../support/healing.ts";

const presharedKey = Buffer.alloc(32, 9).toString("base64");
const foreignKey = Buffer.alloc(32, 11).toString("base64");
/** WireGuard itself mends it with the next packet of the peer; often before the agent has to. */
const ROAMING = "another endpoint";

const devices = ["flannel-wg", "flannel-wg-v6"] as const;

let cluster: Cluster;
let host: LabHost;
let before: string;

beforeAll(async () => {
  cluster = await Cluster.start({
    hosts: 3,
    ipv6: true,
    config: {
      ...{ Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fd00:5::/48" },
      Backend: { Type: "wireguard", PSK: presharedKey },
    },
    launch: (one) => {
      const { program, keyFile } = wireguardAgent(one);
      return { program, env: { WIREGUARD_KEY_FILE: keyFile } };
    },
  });
  await untilAllPing(cluster.pods);
  host = cluster.lan.host(1);
  before = await view();
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

/** Of host 1; throws while a device is missing. */
async function view(): Promise<string> {
  const found = await Promise.all(
    devices.map(async (device) => {
      const { port, publicKey, peers } = await wgDump(host, device);
      const shown = peers.map(({ lastHandshake: _, ...peer }) => peer);
      const { mtuBytes, isUp } = (await link(host.namespace, device)) ?? {};
      return {
        ...{ device, port, publicKey, mtuBytes, isUp },
        peers: shown.sort((a, b) => (a.publicKey < b.publicKey ? -1 : 1)),
        addresses: await addresses(host.namespace, device),
        // The kernel's own, to the address of the device itself, come and go with it.
        routes: (await routes(host.namespace, "dev", device)).filter((line) => !line.includes("proto kernel")),
      };
    }),
  );
  return JSON.stringify(found, undefined, 1);
}

const ip = (...words: readonly string[]) => host.namespace.ip(...words);
const set = (...words: readonly string[]) => wg(host, "set", "flannel-wg", ...words);
const peerSet = async (...words: readonly string[]) => set("peer", (await peerKeys())[0] ?? "", ...words);

async function peerKeys(): Promise<readonly string[]> {
  return (await wgDump(host, "flannel-wg")).peers.map(({ publicKey }) => publicKey);
}

/** A file that only this host's programs read. */
function keyFile(key: string): string {
  const file = join(host.runDirectory, "other-key");
  writeFileSync(file, key, { mode: 0o600 });
  return file;
}

/** To the program that serves the device. */
async function signalProgram(device: string, signal: NodeJS.Signals): Promise<void> {
  const pids = (await boxNamespace.ip("netns", "pids", host.namespace.name)).trim().split("\n").map(Number);
  const words = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  const [found] = pids.filter((pid) => words(pid).includes(device) && words(pid)[0]?.endsWith("wireguard-go") === true);
  if (found === undefined) throw new Error(`no program serves ${device} on ${host.name}`);
  process.kill(found, signal);
}

it.each<[string, () => Promise<unknown>]>([
  ["a removed peer", () => peerSet("remove")],
  [
    "all peers removed",
    async () => {
      for (const key of await peerKeys()) await set("peer", key, "remove");
    },
  ],
  ["a peer of nobody", () => set("peer", foreignKey, "allowed-ips", "10.5.77.0/24", "endpoint", "192.168.50.77:4")],
  ["allowed IPs taken away", () => peerSet("allowed-ips", "")],
  ["allowed IPs that are more", () => peerSet("allowed-ips", "10.5.0.0/16")],
  [ROAMING, () => peerSet("endpoint", "192.168.50.99:9")],
  ["a pre-shared key taken away", () => peerSet("preshared-key", "/dev/null")],
  ["another pre-shared key", () => peerSet("preshared-key", keyFile(foreignKey))],
  ["another keepalive", () => peerSet("persistent-keepalive", "7")],
  ["another port", () => set("listen-port", "4711")],
  ["another key of the device", () => set("private-key", keyFile(Buffer.alloc(32, 0x48).toString("base64")))],
  ["a key taken away", () => set("private-key", "/dev/null")],
  ["addresses flushed", () => ip("addr", "flush", "dev", "flannel-wg")],
  ["IPv6 addresses flushed", () => ip("-6", "addr", "flush", "dev", "flannel-wg-v6", "scope", "global")],
  ["a further address", () => ip("addr", "add", "10.5.200.0/32", "dev", "flannel-wg")],
  ["a route removed", () => ip("route", "del", "10.5.0.0/16", "dev", "flannel-wg")],
  ["routes flushed", () => ip("route", "flush", "dev", "flannel-wg")],
  ["IPv6 routes flushed", () => ip("-6", "route", "flush", "dev", "flannel-wg-v6")],
  ["a device that is down", () => ip("link", "set", "dev", "flannel-wg", "down")],
  ["an IPv6 device that is down", () => ip("link", "set", "dev", "flannel-wg-v6", "down")],
  ["another MTU", () => ip("link", "set", "dev", "flannel-wg", "mtu", "1300")],
  ["a device deleted", () => ip("link", "del", "dev", "flannel-wg")],
  ["an IPv6 device deleted", () => ip("link", "del", "dev", "flannel-wg-v6")],
  ["wireguard-go killed", () => signalProgram("flannel-wg", "SIGKILL")],
  [
    "a peer removed after wireguard-go gave no answer for a while",
    async () => {
      await signalProgram("flannel-wg", "SIGSTOP");
      await delay(2_000); // A look that waits is no reason to look seldomer.
      await signalProgram("flannel-wg", "SIGCONT");
      await peerSet("remove");
    },
  ],
  ["the socket of wireguard-go removed", async () => rmSync(socketFile(host, "flannel-wg"))],
])("puts back %s", async (what, damage) => {
  const repairs = async () => (await cluster.agent(1).status()).repairs.total;
  const repairsBefore = await repairs();
  await damage();
  const damagedMs = performance.now();
  let wasSeen = false;
  await until(
    async () => {
      const found = await view();
      if (found === before) return true;
      wasSeen = true;
      throw new Error(`found ${found}\ninstead of ${before}`);
    },
    { what: "host 1 to be as before" },
  );
  expectHealed(what, damagedMs);
  // A damage without effect would be as before at once.
  if (what !== ROAMING || !wasSeen) {
    await until(async () => (await repairs()) > repairsBefore, { what: "the repair to be counted" });
  }
  await untilAllPing(cluster.pods);
});
