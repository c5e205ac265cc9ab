// Runs on a kernel that has WireGuard: two hosts as namespaces, programmed by the reconciler, then damaged and healed. Prints
// one line of JSON for each question; wireguard-kernel.test.ts asks and judges.
import { execFileSync, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { HostState } from "../../../src/host/kinds/host-state.ts";
import { Reconciler } from "../../../src/host/reconcile/reconciler.ts";
import type { Address, Prefix } from "../../../src/ip/address.ts";
import { silentLogger } from "../../../src/telemetry/logger.ts";
import { publicKeyOf } from "../../../src/wireguard/keys.ts";
import { tell, timeOfLook } from "./guest.ts";

const run = (...argv: string[]): string => execFileSync(argv[0] ?? "", argv.slice(1), { encoding: "utf8" });

/** Keys are made of numbers, so that both sides know them. */
function keyOf(number: number): string {
  const bytes = Buffer.alloc(32, 7);
  bytes.writeUInt32BE(number, 4);
  bytes[0] = (bytes[0] ?? 0) & 248;
  bytes[31] = ((bytes[31] ?? 0) & 127) | 64;
  return bytes.toString("base64");
}

const presharedKey = Buffer.alloc(32, 9).toString("base64");

function stateOf(host: number, otherPeers: number): HostState {
  const other = 3 - host;
  const peer = (number: number, subnets: readonly string[], address: string) => ({
    device: "flannel-wg",
    publicKey: publicKeyOf(keyOf(number)),
    endpoint: { address: address as Address, port: 51_820 },
    presharedKey,
    keepaliveSeconds: 0,
    allowedIps: subnets as readonly Prefix[],
  });
  const others = Array.from({ length: otherPeers }, (_, index) =>
    peer(
      100 + index,
      [`10.6.${index >> 6}.${(index % 64) * 4}/30`, `fd00:6:${index.toString(16)}::/64`],
      "192.168.1.9",
    ),
  );
  return {
    link: [{ kind: "wireguard", name: "flannel-wg", mtuBytes: 1_420 }],
    address: [
      { device: "flannel-wg", address: `10.5.${host}.0/32` as Prefix },
      { device: "flannel-wg", address: `fd00:5:${host}::/128` as Prefix },
    ],
    wireguard: [
      { device: "flannel-wg", privateKey: keyOf(host), publicKey: publicKeyOf(keyOf(host)), listenPort: 51_820 },
    ],
    wireguardPeer: [peer(other, [`10.5.${other}.0/24`, `fd00:5:${other}::/64`], `192.168.1.${other}`), ...others],
    route: [
      { destination: "10.5.0.0/16" as Prefix, device: "flannel-wg", onLink: false, isLinkScope: true },
      { destination: "fd00:5::/32" as Prefix, device: "flannel-wg", onLink: false, isLinkScope: true },
    ],
  };
}

async function keep(host: number, otherPeers: number): Promise<void> {
  // The reconciler alone keeps no process alive.
  setInterval(() => undefined, 60_000);
  const { signal } = new AbortController();
  const reconciler = await Reconciler.open({
    devices: ["flannel-wg"],
    ownedNetworks: [],
    logger: silentLogger,
    signal,
  });
  const result = await reconciler.setDesired(stateOf(host, otherPeers), { prune: true });
  tell(`host ${host}`, { failures: result.failures });
  process.send?.("kept");
}

async function untilEqual(what: string, view: () => string, before: string, lookMs: number): Promise<void> {
  const startMs = performance.now();
  while (performance.now() - startMs < 60_000) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (view() !== before) continue;
    tell(what, { healedMs: Math.round(performance.now() - startMs), lookMs });
    return;
  }
  tell(what, { found: view().slice(0, 2_000), before: before.slice(0, 2_000) });
}

async function main(): Promise<void> {
  for (const host of [1, 2]) run("ip", "netns", "add", `h${host}`);
  run("ip", "link", "add", "a1", "netns", "h1", "type", "veth", "peer", "name", "a2", "netns", "h2");
  const children = [];
  for (const host of [1, 2]) {
    run("ip", "-n", `h${host}`, "addr", "add", `192.168.1.${host}/24`, "dev", `a${host}`);
    run("ip", "-n", `h${host}`, "link", "set", `a${host}`, "up");
    const argv = ["netns", "exec", `h${host}`, process.execPath, fileURLToPath(import.meta.url), String(host)];
    const child = spawn("ip", argv, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    await new Promise((resolve, reject) => {
      child.once("message", resolve);
      child.once("exit", (code, signal) => reject(new Error(`the holder of host ${host} ended: ${code} ${signal}`)));
      child.once("error", reject);
    });
    children.push(child);
  }
  const wg = (...words: string[]) => run("ip", "netns", "exec", "h1", "wg", ...words);
  tell("link", JSON.parse(run("ip", "-n", "h1", "-d", "-j", "link", "show", "flannel-wg")));
  const dumped = wg("show", "flannel-wg", "dump").trimEnd().split("\n");
  tell("device", { line: dumped[0], peers: dumped.length - 1, first: dumped[1], last: dumped.at(-1) });
  tell("ping", run("ip", "netns", "exec", "h1", "ping", "-c", "3", "-W", "10", "-I", "10.5.1.0", "10.5.2.0"));
  tell("ping6", run("ip", "netns", "exec", "h1", "ping", "-c", "3", "-W", "10", "fd00:5:2::"));
  const peer = publicKeyOf(keyOf(2));
  // A peer that comes back stands at the end of the list.
  const view = () => {
    try {
      const blocks = wg("showconf", "flannel-wg").trim().split("\n\n").sort();
      return [...blocks, run("ip", "-n", "h1", "route", "show", "dev", "flannel-wg")].join("\n");
    } catch (error) {
      return String(error);
    }
  };
  const before = view();
  const damages: readonly (readonly [string, ...string[]])[] = [
    ["peer removed", "peer", peer, "remove"],
    ["allowed IPs changed", "peer", peer, "allowed-ips", "10.9.0.0/16"],
    ["endpoint changed", "peer", peer, "endpoint", "192.168.1.77:4"],
    ["pre-shared key taken away", "peer", peer, "preshared-key", "/dev/null"],
    ["foreign peer added", "peer", publicKeyOf(keyOf(99_999)), "allowed-ips", "10.7.0.0/16"],
    ["port changed", "listen-port", "4711"],
    ["key taken away", "private-key", "/dev/null"],
  ];
  const lookMs = await timeOfLook(() => Promise.resolve(view()));
  for (const [what, ...words] of damages) {
    wg("set", "flannel-wg", ...words);
    await untilEqual(what, view, before, lookMs);
  }
  run("ip", "-n", "h1", "link", "delete", "flannel-wg");
  await untilEqual("device deleted", view, before, lookMs);
  tell(
    "ping at the end",
    run("ip", "netns", "exec", "h1", "ping", "-c", "3", "-W", "10", "-I", "10.5.1.0", "10.5.2.0"),
  );
  for (const child of children) child.kill("SIGKILL");
}

const host = Number(process.argv[2] ?? 0);
if (host === 0) await main();
else await keep(host, 500);
