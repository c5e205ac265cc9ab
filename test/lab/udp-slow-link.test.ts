// The udp backend behind a link that is much slower than what containers send: what comes in does not wait for what goes out.
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { receivedPerSecond } from "../../lab/packet-probe.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 2, config: { Network: "10.5.0.0/16", Backend: { Type: "udp" } } });
  await untilAllPing(cluster.pods);
});
afterAll(() => cluster[Symbol.asyncDispose]());

const received = async () => (await cluster.agent(1).status()).dataPlane?.carried["receivedPackets"] ?? 0;

it("receives everything while its own packets stand in a full queue", async () => {
  const { namespace } = cluster.lan.host(1);
  const [one, two] = [cluster.pod(1), cluster.pod(2)];
  const shaper = ["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "20mbit", "burst", "64k", "limit", "64m"];
  await namespace.run(shaper);
  const flood = receivedPerSecond(one.namespace, two.namespace, two.ipv4 ?? "", { bytes: 1_400, seconds: 5 });
  await until(
    async () => {
      const [, amount, unit] =
        / backlog (\d+)(K?)b/.exec(await namespace.run(["tc", "-s", "qdisc", "show", "dev", "eth0"])) ?? [];
      return Number(amount) * (unit === "K" ? 1_024 : 1) > 400_000;
    },
    { what: "a full queue" },
  );
  const before = await received();
  const send = `const s=require("node:dgram").createSocket("udp4");let n=0;const t=setInterval(()=>{for(let i=0;i<50;i++)s.send("x",9,"${one.ipv4}");if((n+=50)===10000){clearInterval(t);s.unref()}},10)`;
  await two.namespace.run([process.execPath, "-e", send]);
  expect(await received()).toBeGreaterThan(before + 9_900);
  await namespace.run(["tc", "qdisc", "del", "dev", "eth0", "root"]);
  expect(await flood, "packets a second, of which the link carries 1,700").toBeGreaterThan(500);
  await untilAllPing(cluster.pods);
});

it("leaves the device alone while there is no room: its queue loses packets, not a race through it", async () => {
  const { namespace } = cluster.lan.host(1);
  const [one, two] = [cluster.pod(1), cluster.pod(2)];
  const batches = async () => (await cluster.agent(1).status()).dataPlane?.carried["sentDatagramBatches"] ?? 0;
  // One message of 64 KiB takes the link a quarter of a second.
  await namespace.run([
    "tc",
    "qdisc",
    "add",
    "dev",
    "eth0",
    "root",
    "tbf",
    "rate",
    "2mbit",
    "burst",
    "64k",
    "limit",
    "64m",
  ]);
  const before = await batches();
  await receivedPerSecond(one.namespace, two.namespace, two.ipv4 ?? "", { bytes: 1_400, seconds: 3 });
  const made = (await batches()) - before;
  await namespace.run(["tc", "qdisc", "del", "dev", "eth0", "root"]);
  // Each that finds no room waits 20 ms; those before the buffer is full do not.
  expect(made).toBeGreaterThan(10);
  expect(made).toBeLessThan(600);
  await untilAllPing(cluster.pods);
});
