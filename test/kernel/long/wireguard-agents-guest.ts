// Runs on a kernel that has WireGuard: two hosts with agents and containers, dual stack; agents killed, restarted and upgraded
// under traffic, a new key, damages of each kind healed. Prints one line of JSON for each question;
// wireguard-agents-kernel.test.ts asks and judges. Small: a guest takes seconds for what the machine does in a tenth of one.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Cluster } from "../../../lab/cluster.ts";
import { makeNextVersion } from "../../../lab/next-version.ts";
import { ContinuousPing, ping, pingAll, untilAllPing } from "../../../lab/probe.ts";
import { Program } from "../../support/restarts.ts";
import { tell, tellHealing } from "./guest.ts";

const flannelctl = fileURLToPath(new URL("../../../bin/flannelctl", import.meta.url));
const keyOf = (number: number) => Buffer.alloc(32, number).toString("base64");
const devices = ["flannel-wg", "flannel-wg-v6"] as const;
const [device, deviceV6] = devices;

const program = new Program();
await using cluster = await Cluster.start({
  ...{ hosts: 2, ipv6: true },
  config: {
    ...{ Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fd00:5::/48" },
    Backend: { Type: "wireguard", PSK: keyOf(9) },
  },
  // The lab's hosts share a file system.
  launch: (host) => ({ ...program.launch(), env: { WIREGUARD_KEY_FILE: join(host.runDirectory, "wgkey") } }),
});
const { host } = cluster.agent(1);
const [from, to] = [cluster.pod(1), cluster.pod(2)];
const run = (...argv: readonly string[]) => host.namespace.run(argv);

/** One process for each program: a guest is slow. */
const look = `
for device in ${devices.join(" ")}; do wg showconf $device || exit; echo; done
ip -batch - <<'END'
link show dev ${device}
link show dev ${deviceV6}
address show dev ${device}
address show dev ${deviceV6}
route show dev ${device}
END
ip -6 route show dev ${deviceV6}
`;

/** Of host 1, while all its devices are there: the order of peers says nothing, nor do numbers of devices. */
async function view(): Promise<string> {
  const [blocks = "", ...rest] = (await run("sh", "-c", look)).split(/^(?=\d+: )/m);
  const shown = rest.join("").replaceAll(/^\d+: | (qdisc|state|group) .*$| +valid_lft .*\n/gm, "");
  // The kernel's own come and go with the address.
  const ours = shown.split("\n").filter((line) => !line.includes("proto kernel"));
  return [...blocks.trim().split("\n\n").sort(), ...ours].join("\n");
}

/** The agent ends by `end` and is started again, and its host has all that it had. */
async function timed(what: string, number: number, end: () => Promise<unknown>): Promise<void> {
  const startMs = performance.now();
  await end();
  await cluster.startAgent(number).untilReady({ peers: 1 });
  tell(what, { readyMs: Math.round(performance.now() - startMs) });
}

await untilAllPing(cluster.pods);
tell("pairs", (await pingAll(cluster.pods)).length);
const sizes = [1420 - 28, 1420 - 27].map((payloadBytes) => ping(from.namespace, to.ipv4 ?? "", { payloadBytes }));
tell(
  "largest packet",
  (await Promise.all(sizes)).map((time) => time !== undefined),
);
const status = await cluster.agent(1).status();
tell("status", { features: status.dataPlane?.features, peers: status.dataPlane?.peers.length });

const indices = async () =>
  await Promise.all(
    devices.map(async (name) => (await host.namespace.ipJson("link", "show", "dev", name))[0]?.["ifindex"]),
  );
const before = await indices();
// The upgraded agent's program, until the end.
using next = makeNextVersion();
{
  await using ipv4 = await ContinuousPing.start(from.namespace, to.ipv4 ?? "");
  // Encryption of two such flows is all that a slow guest can do: an agent would not come to its turn.
  await using ipv6 = await ContinuousPing.start(from.namespace, to.ipv6 ?? "", 100);
  await timed("killed", 1, () => cluster.agent(1).kill9());
  await timed("restarted", 2, () => cluster.agent(2).term());
  program.flanneld = next.flanneld;
  await timed("upgraded", 1, () => cluster.agent(1).term());
  tell("later version runs", (await cluster.agent(1).status()).agent.version === next.version);
  await Promise.all([ipv4.more(10), ipv6.more(10)]);
  const reports = await Promise.all([ipv4.stop(), ipv6.stop()]);
  tell(
    "sent",
    reports.map(({ sent }) => sent),
  );
  tell(
    "lost",
    reports.map(({ lost }) => lost.length),
  );
}
tell("devices kept", (await indices()).join() === before.join());

{
  await using traffic = await ContinuousPing.start(from.namespace, to.ipv4 ?? "");
  const words = ["wireguard", "rotate", "--json", "--socket", cluster.agent(1).controlSocket];
  const { exitCode } = await host.namespace.tryRun([flannelctl, ...words], { timeoutMs: 300_000 });
  await traffic.more(20);
  const { lost, longestSilenceMs } = await traffic.stop();
  tell("another key of the host", { exitCode, lost: lost.length, silentMs: Math.round(longestSilenceMs) });
}
// Others are tried on wireguard-go (test/lab/long/wireguard-healing), and on this kernel's device without an agent.
const peer = (await run("wg", "show", device, "peers")).trim();
const otherKey = join(host.runDirectory, "other-key");
writeFileSync(otherKey, keyOf(0x48), { mode: 0o600 });
const set = (...words: readonly string[]) => ["wg", "set", device, ...words];
await tellHealing(
  [
    ["peer removed", set("peer", peer, "remove")],
    ["another key", set("private-key", otherKey)],
    ["IPv6 routes flushed", ["ip", "-6", "route", "flush", "dev", deviceV6]],
    ["device deleted", ["ip", "link", "delete", "dev", device]],
  ],
  run,
  view,
  cluster.agent(1),
);
await untilAllPing(cluster.pods);
tell("done", true);
