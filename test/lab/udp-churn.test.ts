// Leases come and go in the store by a thousand a second while the udp backend carries traffic: nothing is harmed, and no
// packet reaches a host it is not for.
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import type { Pod } from "../../lab/pod.ts";
import { until } from "../../lab/wait.ts";
import { RequestOp, TxnRequest } from "../../src/etcd-api/etcd.ts";
import { EtcdConnection } from "../../src/store/etcd/etcd-connection.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { transfersUnharmed } from "../support/traffic.ts";

const listener = fileURLToPath(new URL("../support/overlay-listener.ts", import.meta.url));
/** Third numbers of the subnets that come and go. */
const passing = Array.from({ length: 100 }, (_, index) => 100 + index);
const SECONDS = 5;
const PER_SECOND = 1_000;
const PATIENCE_MS = 60_000;

const keyOf = (third: number) => Buffer.from(`/coreos.com/network/subnets/10.5.${third}.0-24`);

/** A hundred leases written, or deleted, in one transaction. */
async function change(connection: EtcdConnection, publicIp: string | undefined): Promise<void> {
  const value = Buffer.from(JSON.stringify({ PublicIP: publicIp, PublicIPv6: null }));
  const success = passing.map((third) =>
    publicIp === undefined
      ? RequestOp.fromPartial({ requestDeleteRange: { key: keyOf(third) } })
      : RequestOp.fromPartial({ requestPut: { key: keyOf(third), value } }),
  );
  await connection.call(methods.txn, TxnRequest.fromPartial({ success }), "leases", new AbortController().signal);
}

/** At this pace for so long, within the time a busy machine needs to get there. Returns how many went by a second. */
async function changeAtPace(connection: EtcdConnection, publicIp: string | undefined): Promise<number> {
  const changedAtMs: number[] = [];
  const startedMs = performance.now();
  const perSecond = () => {
    const sinceMs = performance.now() - SECONDS * 1_000;
    return (changedAtMs.filter((atMs) => atMs > sinceMs).length * passing.length) / SECONDS;
  };
  let dueMs = startedMs;
  while (performance.now() - startedMs < SECONDS * 1_000 || perSecond() <= PER_SECOND) {
    if (performance.now() - startedMs > PATIENCE_MS) break;
    await change(connection, changedAtMs.length % 2 === 0 ? publicIp : undefined);
    const nowMs = performance.now();
    changedAtMs.push(nowMs);
    // A little faster than asked for, and steadily: at most a second is caught up.
    dueMs = Math.max(dueMs + (passing.length / PER_SECOND) * 900, nowMs - 1_000);
    if (dueMs > nowMs) await sleep(dueMs - nowMs);
  }
  return perSecond();
}

const allOf = (stream: Readable | null) => (stream === null ? Promise.resolve("{}") : text(stream));

it("delivers nothing wrongly", async () => {
  // Subnets of those who stay are far from those who come and go.
  const config = { Network: "10.5.0.0/16", SubnetMax: "10.5.50.0", Backend: { Type: "udp" } };
  await using cluster = await Cluster.start({ hosts: 3, config, withoutAgent: [3] });
  const third = cluster.lan.host(3);
  const watcher = third.namespace.spawn([process.execPath, listener, third.ipv4 ?? ""], { stdio: "pipe" });
  let said = "";
  watcher.stderr?.setEncoding("utf8").on("data", (words: string) => {
    said += words;
  });
  await until(() => said.includes("ready"), { what: "the third host to listen" });
  const [one, two] = [cluster.pod(1), cluster.pod(2)];
  const script = `const s=require("node:dgram").createSocket("udp4");setInterval(()=>{for(let n=100;n<200;n++)s.send("x",9,"10.5."+n+".9")},5)`;
  const sender = one.namespace.spawn([process.execPath, "-e", script], { stdio: "ignore" });
  let isOver = false;
  const transfer = async (from: Pod, to: Pod, port: number) => {
    let areUnharmed = true;
    do areUnharmed &&= await transfersUnharmed(from.namespace, to.namespace, to.ipv4 ?? "", 250_000_000, port);
    while (!isOver && areUnharmed);
    return areUnharmed;
  };
  const transfers = [transfer(one, two, 5001), transfer(two, one, 5002)];

  await using connection = await EtcdConnection.open({ endpoints: cluster.etcd.endpoints });
  const perSecond = await changeAtPace(connection, third.ipv4);
  isOver = true;
  console.log(`${perSecond.toFixed(0)} leases a second came or went`);
  expect(perSecond, "the load this test is about").toBeGreaterThan(PER_SECOND);
  await change(connection, undefined);
  await cluster.agent(1).untilReady({ peers: 1 });

  expect(await Promise.all(transfers)).toEqual([true, true]);
  sender.kill("SIGKILL");
  watcher.stdin?.end();
  const counts = JSON.parse(await allOf(watcher.stdout)) as Record<string, number>;
  const subnets = Object.keys(counts).map(Number);
  expect(subnets.filter((subnet) => !passing.includes(subnet))).toEqual([]);
  expect(subnets.length).toBe(passing.length);
  for (const number of [1, 2]) {
    const { dataPlane } = await cluster.agent(number).status();
    expect(dataPlane?.dropped).toMatchObject({ malformed: 0, foreignSource: 0, foreignDestination: 0 });
  }
});
