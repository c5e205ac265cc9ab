// The extension backend beside upstream's own program, with commands as both run them: containers reach each other, and a host
// changes from one program to the other and back without losing a packet.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster } from "../../../lab/cluster.ts";
import { leaseEntryOf } from "../../../lab/lease-view.ts";
import { attachPod, type Pod } from "../../../lab/pod.ts";
import { ContinuousPing, untilAllPing } from "../../../lab/probe.ts";
import { UpstreamAgent } from "../../../lab/upstream-agent.ts";
import { DEADLINE_MS } from "../../../lab/wait.ts";

const example = JSON.parse(readFileSync("examples/extension/host-gw.json", "utf8"));
/** What this host prints is its data. */
const config = { ...example, Backend: { ...example.Backend, PreStartupCommand: "cat /proc/sys/kernel/hostname" } };

let cluster: Cluster;
let upstream: UpstreamAgent;
let pods: readonly [Pod, Pod];

const startUpstream = () => UpstreamAgent.start(cluster.lan.host(2), { etcdEndpoints: cluster.etcd.endpoints });

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 2, withoutAgent: [2], config });
  upstream = await startUpstream();
  pods = [cluster.pod(1), await attachPod(upstream.host, await upstream.subnetEnv())];
}, 2 * DEADLINE_MS);

afterAll(() => cluster?.[Symbol.asyncDispose]());

it("connects containers; leases have the same form", async () => {
  await untilAllPing(pods);
  const values = await Promise.all(
    [1, 2].map(async (number) => {
      const { ipv4 = "" } = cluster.lan.host(number);
      return (await leaseEntryOf(cluster.etcd, ipv4)).value.replace(ipv4, "HOST");
    }),
  );
  expect(values[0]).toBe(values[1]);
  expect(values[0]).toContain('"BackendType":"extension","BackendData":"');
});

it("takes over upstream's host and gives it back without a cut", async () => {
  await using traffic = await ContinuousPing.start(pods[0].namespace, pods[1].ipv4 ?? "");
  await upstream.stop();
  await cluster.startAgent(2).untilReady({ peers: 1 });
  await traffic.more(50);
  await cluster.agent(2).term();
  await using again = await startUpstream();
  await traffic.more(50);
  expect((await traffic.stop()).lost).toEqual([]);
  await untilAllPing(pods);
  await again.stop();
});
