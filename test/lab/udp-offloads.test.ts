// Whatever offload the kernel refuses, at the start or later, is switched off by itself; the others stay on, the status
// tells, and every byte arrives. A library in front of libc refuses as older kernels do.
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { run } from "../../lab/command.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import type { NetworkStatus } from "../../src/agent/control/control-protocol.ts";
import { echoesEverySize, transfersUnharmed } from "../support/traffic.ts";

const source = fileURLToPath(new URL("../support/refuse-offloads.c", import.meta.url));
const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));
let cluster: Cluster;
let library: string;

beforeAll(async () => {
  library = join(await mkdtemp(join(tmpdir(), "refuse-")), "refuse-offloads.so");
  await run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], { timeoutMs: 60_000 });
  cluster = await Cluster.start({ hosts: 2, config: { Network: "10.5.0.0/16", Backend: { Type: "udp" } } });
});
afterAll(() => cluster[Symbol.asyncDispose]());

type Features = NonNullable<NonNullable<NetworkStatus["dataPlane"]>["features"]>;

const all: Features = { deviceOffload: "tcp and udp", udpSegmentation: true, udpReceiveJoining: true };
const device = "tcp and udp segments of the device";

const features = async () => (await cluster.agent(1).status()).dataPlane?.features;

async function dataPlaneLine(): Promise<string> {
  const text = await run([flannelctl, "status", "--subnet-file", cluster.agent(1).subnetFile]);
  return /^ *data plane +(.*)$/m.exec(text)?.[1] ?? text;
}

async function expectAllToArrive(): Promise<void> {
  const [one, two] = [cluster.pod(1), cluster.pod(2)];
  await untilAllPing(cluster.pods);
  const both = [
    transfersUnharmed(one.namespace, two.namespace, two.ipv4 ?? "", 20_000_000, 5001),
    transfersUnharmed(two.namespace, one.namespace, one.ipv4 ?? "", 20_000_000, 5002),
  ];
  expect(await Promise.all(both)).toEqual([true, true]);
  expect(await echoesEverySize(one.namespace, two.namespace, two.ipv4 ?? "", 0, 1_473)).toBe(
    "1474 of 1474 back, 0 wrong",
  );
}

it.each<readonly [string, Features, string]>([
  ["nothing", all, `with ${device}, UDP segmentation, receive offload (GRO)`],
  ["uso", { ...all, deviceOffload: "tcp" }, "with tcp segments of the device, UDP segmentation, receive offload (GRO)"],
  ["tso", { ...all, deviceOffload: "none" }, "with UDP segmentation, receive offload (GRO)"],
  ["gso", { ...all, udpSegmentation: false }, `with ${device}, receive offload (GRO)`],
  ["gro", { ...all, udpReceiveJoining: false }, `with ${device}, UDP segmentation`],
  ["tso,gso,gro", { deviceOffload: "none", udpSegmentation: false, udpReceiveJoining: false }, "no offloads"],
])("a kernel that refuses %s at the start", async (refused, expected, line) => {
  await cluster.agent(1).term();
  cluster.startAgent(1, [], { LD_PRELOAD: library, REFUSE: refused });
  await cluster.untilReady();
  expect(await features()).toEqual(expected);
  await expectAllToArrive();
  expect(await features()).toEqual(expected);
  expect(await dataPlaneLine()).toBe(line);
});

it("a way out without checksumming, which refuses large messages when they are sent", async () => {
  await cluster.agent(1).term();
  cluster.startAgent(1, [], { LD_PRELOAD: library, REFUSE: "eio" });
  await cluster.untilReady();
  expect(await features()).toEqual(all);
  await expectAllToArrive();
  await until(async () => (await features())?.["udpSegmentation"] === false, { what: "UDP segmentation to be off" });
  expect(await features()).toEqual({ ...all, udpSegmentation: false });
  expect(await dataPlaneLine()).toBe(`with ${device}, receive offload (GRO)`);
  expect((await cluster.agent(1).status()).dataPlane?.dropped).toMatchObject({ sendRefused: 0, sendQueueFull: 0 });
});
