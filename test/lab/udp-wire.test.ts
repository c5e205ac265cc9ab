// What the udp backend puts on the wire: every datagram is one whole IP packet with right checksums, whatever offloads
// are in use inside; DSCP and ECN are the packet's own and do not show outside. Read by tshark, on both families.
import { mkdtemp, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { run } from "../../lab/command.ts";
import type { Namespace } from "../../lab/namespace.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { echoesEverySize, transfersUnharmed } from "../support/traffic.ts";

/** 1500 less the outer headers of each family. */
const MTU = 1_472;
const IPV6_MTU = 1_452;
const OUTER_BYTES = 28;
const EXPEDITED = 0xb8;
/** tshark's words for a checksum. */
const [GOOD, UNVERIFIED] = ["1", "2"];

let cluster: Cluster;
beforeAll(async () => {
  const config = {
    Network: "10.5.0.0/16",
    EnableIPv6: true,
    IPv6Network: "fd00:5::/48",
    Backend: { Type: "udp" },
  };
  cluster = await Cluster.start({ hosts: 2, ipv6: true, config });
  await untilAllPing(cluster.pods);
});
afterAll(() => cluster[Symbol.asyncDispose]());

const fields = [
  "ip.len",
  "ip.checksum.status",
  "ip.dsfield",
  "ipv6.plen",
  "ipv6.tclass",
  "tcp.checksum.status",
  "udp.checksum.status",
  "icmp.checksum.status",
  "icmpv6.checksum.status",
  "ip.flags.mf",
  "ip.frag_offset",
  "ipv6.fraghdr.nxt",
  "_ws.malformed",
] as const;
type Field = (typeof fields)[number];
/** All values of each field in a frame: outer first. */
type Frame = Readonly<Record<Field, readonly string[]>>;

/** Starts to capture on the host; the function given back ends it and gives the frames. */
async function capture(host: Namespace): Promise<() => Promise<readonly Frame[]>> {
  const file = join(await mkdtemp(join(tmpdir(), "capture-")), "wire.pcap");
  const argv = [
    "tcpdump",
    "-nni",
    "eth0",
    "-U",
    "-s",
    "0",
    "--immediate-mode",
    "-B",
    "65536",
    "-w",
    file,
    "udp port 8285",
  ];
  const child = host.spawn(argv, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  await until(() => said.includes("listening"), { what: "tcpdump to listen" });
  return async () => {
    // Each frame is written as it comes: no more of them, all are there. Asked to end, tcpdump waits for another.
    let bytes = -1;
    const isComplete = async () => {
      const before = bytes;
      bytes = (await stat(file)).size;
      return bytes === before;
    };
    await until(isComplete, { what: "the capture to be complete", intervalMs: 200 });
    const closed = new Promise((resolve) => child.once("close", resolve));
    child.kill("SIGKILL");
    await closed;
    return await readFrames(file);
  };
}

async function readFrames(file: string): Promise<readonly Frame[]> {
  const preferences = [
    ...["ip", "tcp", "udp"].map((protocol) => `${protocol}.check_checksum:TRUE`),
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
  ];
  const argv = ["tshark", "-n", "-r", file, "-d", "udp.port==8285,ip", "-d", "udp.port==7000,data", "-T", "fields"];
  const options = [...preferences.flatMap((each) => ["-o", each]), ...fields.flatMap((each) => ["-e", each])];
  const text = await run([...argv, ...options], { timeoutMs: 60_000 });
  const lines = text.split("\n").slice(0, -1);
  return lines.map((line) => {
    const values = line.split("\t").map((value) => (value === "" ? [] : value.split(",")));
    return Object.fromEntries(fields.map((field, index) => [field, values[index] ?? []])) as unknown as Frame;
  });
}

function faultOf(frame: Frame): string | undefined {
  if (frame["_ws.malformed"].length > 0) return "malformed";
  const [outer, inner, ...more] = frame["ip.len"].map(Number);
  const [outer6, inner6, ...more6] = frame["ipv6.plen"].map(Number);
  if (outer !== undefined) {
    if (inner === undefined || more.length > 0 || outer6 !== undefined) return "not one IPv4 packet in another";
    if (outer !== inner + OUTER_BYTES || inner > MTU) return `lengths ${outer}, ${inner}`;
    if (frame["ip.checksum.status"].some((status) => status !== GOOD)) return "IP checksum";
    if (Number(frame["ip.dsfield"][0]) !== 0) return "outer DSCP or ECN";
  } else {
    if (outer6 === undefined || inner6 === undefined || more6.length > 0) return "not one IPv6 packet in another";
    if (outer6 !== inner6 + 40 + 8 || inner6 + 40 > IPV6_MTU) return `lengths ${outer6}, ${inner6}`;
    if (Number(frame["ipv6.tclass"][0]) !== 0) return "outer class";
  }
  const [outside, ...inside] = frame["udp.checksum.status"];
  if (outside !== GOOD) return "outer UDP checksum";
  // The checksum of what is in several fragments cannot be told from the first alone.
  const isRight = (status: string) => status === GOOD || (isFragment(frame) && status === UNVERIFIED);
  const sums = [...inside, ...(["tcp", "icmp", "icmpv6"] as const).flatMap((name) => frame[`${name}.checksum.status`])];
  return sums.every(isRight) ? undefined : `checksum ${sums.join(",")}`;
}

function isFragment(frame: Frame): boolean {
  const isMore = ["1", "True"].includes(frame["ip.flags.mf"][1] ?? "");
  return isMore || Number(frame["ip.frag_offset"][1] ?? 0) > 0 || frame["ipv6.fraghdr.nxt"].length > 0;
}

it("is nothing but whole packets with right checksums", async () => {
  const [one, two] = [cluster.pod(1), cluster.pod(2)];
  // veth leaves checksums and cutting undone otherwise, since the other end is the same machine.
  const offloads = ["tx", "off", "tso", "off", "gso", "off", "tx-udp-segmentation", "off", "gro", "off"];
  for (const { namespace } of cluster.lan.hosts) await namespace.run(["ethtool", "-K", "eth0", ...offloads]);
  for (const { namespace } of cluster.pods) await namespace.sysctl({ "net.ipv4.tcp_ecn": 1 });
  const finish = await capture(cluster.lan.host(2).namespace);
  const transfers = await Promise.all([
    transfersUnharmed(one.namespace, two.namespace, two.ipv4 ?? "", 8_000_000, 5001),
    transfersUnharmed(two.namespace, one.namespace, one.ipv4 ?? "", 8_000_000, 5002),
    transfersUnharmed(one.namespace, two.namespace, two.ipv6 ?? "", 8_000_000, 5003),
    transfersUnharmed(two.namespace, one.namespace, one.ipv6 ?? "", 8_000_000, 5004),
  ]);
  expect(transfers).toEqual([true, true, true, true]);
  for (const address of [two.ipv4 ?? "", two.ipv6 ?? ""]) {
    expect(await echoesEverySize(one.namespace, two.namespace, address, 0, MTU + 1)).toBe("1474 of 1474 back, 0 wrong");
    for (const words of [
      ["-s", "64000"],
      ["-s", "0"],
      ["-s", "57"],
      ["-Q", String(EXPEDITED)],
    ])
      await one.namespace.run(["ping", "-n", "-c", "1", "-W", "2", ...words, address]);
  }
  for (const words of [["-R"], ["-T", "tsonly"]]) // IP options
    await one.namespace.run(["ping", "-n", "-c", "1", "-W", "2", ...words, two.ipv4 ?? ""]);
  const frames = await finish();
  expect(frames.map(faultOf).filter((fault) => fault !== undefined)).toEqual([]);

  // Everything was there to be looked at.
  const count = (holds: (frame: Frame) => boolean) => frames.filter(holds).length;
  const of = (outer: "ip.len" | "ipv6.plen", field: Field, least = 1) =>
    count((frame) => frame[outer].length > 0 && frame[field].length >= least);
  expect(of("ip.len", "tcp.checksum.status")).toBeGreaterThan(10_000);
  expect(of("ipv6.plen", "tcp.checksum.status")).toBeGreaterThan(10_000);
  expect(of("ip.len", "udp.checksum.status", 2)).toBeGreaterThan(2_800);
  expect(of("ipv6.plen", "udp.checksum.status", 2)).toBeGreaterThan(2_800);
  expect(count((frame) => frame["ip.len"].length > 0 && isFragment(frame))).toBeGreaterThan(80);
  expect(count((frame) => frame["ipv6.plen"].length > 0 && isFragment(frame))).toBeGreaterThan(80);
  const inside = (field: "ip.dsfield" | "ipv6.tclass") => frames.map((frame) => Number(frame[field][1] ?? 0));
  for (const field of ["ip.dsfield", "ipv6.tclass"] as const) {
    expect(inside(field).filter((value) => value === EXPEDITED)).toHaveLength(2);
    expect(inside(field).filter((value) => (value & 3) === 2).length, "ECN-capable").toBeGreaterThan(1_000);
  }
});
