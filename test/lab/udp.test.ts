// The udp backend between real hosts: every byte of real traffic, what is on the wire, who is let in, and what a restart
// costs.
import { readdir, readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { addresses, link, routes } from "../../lab/kernel-view.ts";
import { ContinuousPing, ping, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { scaled } from "../support/fuzz.ts";
import { echoesEverySize, streamsUnharmed, transfersUnharmed } from "../support/traffic.ts";

let cluster: Cluster;
const podIp = (number: number) => cluster.pod(number).ipv4 ?? "";
const podNs = (number: number) => cluster.pod(number).namespace;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 2, config: { Network: "10.5.0.0/16", Backend: { Type: "udp" } } });
});
afterAll(() => cluster[Symbol.asyncDispose]());

const droppedOn = async (number: number, reason: string) =>
  (await cluster.agent(number).status()).dataPlane?.dropped[reason] ?? 0;

/** One raw datagram as `host` would send it: an IPv4 packet of ours in hexadecimal to the other host's port. */
async function sendDatagram(host: number, hex: string): Promise<void> {
  const script = `require("node:dgram").createSocket("udp4").send(Buffer.from("${hex}","hex"),8285,"${cluster.lan.host(3 - host).ipv4}",()=>process.exit())`;
  await cluster.lan.host(host).namespace.run([process.execPath, "-e", script]);
}

/** A UDP packet without checksum from `source` to `destination`, with TTL 64. */
function packet(source: string, destination: string): string {
  const bytes = Buffer.alloc(28);
  bytes.set([
    0x45,
    0,
    0,
    28,
    0,
    1,
    0,
    0,
    64,
    17,
    0,
    0,
    ...[source, destination].flatMap((ip) => ip.split(".").map(Number)),
  ]);
  bytes.set([0x30, 0x39, 0x30, 0x39, 0, 8, 0, 0], 20);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  bytes.writeUInt16BE(~sum & 0xffff, 10);
  return bytes.toString("hex");
}

describe("forms", () => {
  it("has device, address, route and lease as upstream", async () => {
    const { namespace } = cluster.lan.host(1);
    const subnet = (await cluster.agent(1).status()).lease?.subnet ?? "";
    expect(await link(namespace, "flannel0")).toMatchObject({ kind: "tun", mtuBytes: 1472, isUp: true });
    expect(await addresses(namespace, "flannel0")).toContain(`${subnet.split("/")[0]}/32`);
    expect(await routes(namespace)).toContain("10.5.0.0/16 dev flannel0");
    const [entry] = await cluster.etcd.list(`/coreos.com/network/subnets/${subnet.replace("/", "-")}`);
    expect(entry?.value).toBe('{"PublicIP":"192.168.50.11","PublicIPv6":null}');
    expect((await cluster.agent(1).untilSubnetEnv()).mtuBytes).toBe(1472);
  });

  it("tells which offloads are in use", async () => {
    const { dataPlane } = await cluster.agent(1).status();
    expect(dataPlane?.features?.["udpSegmentation"]).toBe(true);
    expect(dataPlane?.problem).toBeUndefined();
  });

  it("puts the packet thread, and no other, before the programs of the host", async () => {
    const tasks = `/proc/${cluster.agent(1).pid}/task`;
    const niceOf = async (task: string) => {
      const name = (await readFile(`${tasks}/${task}/comm`, "utf8")).trim();
      const fields = (await readFile(`${tasks}/${task}/stat`, "utf8")).split(") ")[1]?.split(" ") ?? [];
      return [name, Number(fields[16])] as const; // proc_pid_stat(5): nice is field 19, after ")" the 17th
    };
    const all = await Promise.all((await readdir(tasks)).map(niceOf));
    expect(all.filter(([, nice]) => nice !== 0)).toEqual([["packets", -10]]);
  });
});

describe("traffic", () => {
  const bytes = Math.max(200_000_000, scaled(1_000_000_000));
  it(`carries ${bytes / 1e9} GB both ways at once without harm`, async () => {
    const both = [
      transfersUnharmed(podNs(1), podNs(2), podIp(2), bytes, 5001),
      transfersUnharmed(podNs(2), podNs(1), podIp(1), bytes, 5002),
    ];
    expect(await Promise.all(both)).toEqual([true, true]);
  });

  it("carries UDP of every size from 0 to beyond the MTU, and what needs many fragments", async () => {
    expect(await echoesEverySize(podNs(1), podNs(2), podIp(2), 0, 1474)).toBe("1475 of 1475 back, 0 wrong");
    expect(await echoesEverySize(podNs(1), podNs(2), podIp(2), 60_000, 60_007)).toBe("8 of 8 back, 0 wrong");
  });

  it("carries pings of every kind", async () => {
    expect(await ping(podNs(1), podIp(2), { payloadBytes: 1444 })).toBeGreaterThan(0);
    for (const argv of [["-s", "65000"], ["-R"], ["-T", "tsonly"], ["-s", "0"], ["-s", "1401"]]) {
      await podNs(1).run(["ping", "-n", "-c", "1", "-W", "2", ...argv, podIp(2)]);
    }
  });

  it.each([1, 2, 4, 8, 16, 32, 64])(
    "carries %i connections at once, both ways in each, without harm",
    async (streams) => {
      const bytes = Math.floor(64_000_000 / streams);
      const said = await streamsUnharmed(podNs(1), podNs(2), podIp(2), streams, bytes);
      expect(said).toBe(`${streams} of ${streams} unharmed`);
    },
  );

  it("counts packets, bytes and batches, in all and for each peer, at both ends", async () => {
    const look = async (number: number) => {
      const { dataPlane } = await cluster.agent(number).status();
      return { carried: dataPlane?.carried ?? {}, peer: dataPlane?.peers[0] };
    };
    // What ends the connections of other tests may still be on its way.
    let last = "";
    const isQuiet = async () => {
      const was = last;
      last = JSON.stringify([await look(1), await look(2)]);
      return last === was;
    };
    await until(isQuiet, { what: "the containers to be quiet", intervalMs: 300 });
    const before = [await look(1), await look(2)] as const;
    await podNs(1).run(["ping", "-n", "-q", "-c", "20", "-s", "1000", "-i", "0.01", podIp(2)]);
    const after = [await look(1), await look(2)] as const;
    for (const [index, { carried, peer }] of after.entries()) {
      const grown = (name: string) => (carried[name] ?? 0) - (before[index]?.carried[name] ?? 0);
      // Probes of the agents pass as well, each second, as packets of 84 bytes.
      const expectPings = (packets: number, bytes: number) => {
        expect(bytes - 84 * (packets - 20)).toBe(20 * 1_028);
        expect(packets - 20).toBeLessThan(10);
      };
      for (const way of ["sent", "received"] as const) {
        expectPings(grown(`${way}Packets`), grown(`${way}Bytes`));
        expect(grown(`${way}DatagramBatches`)).toBeGreaterThan(0);
        const [packets, bytes] = [`${way}Packets`, `${way}Bytes`] as const;
        const was = before[index]?.peer;
        expectPings((peer?.[packets] ?? 0) - (was?.[packets] ?? 0), (peer?.[bytes] ?? 0) - (was?.[bytes] ?? 0));
      }
    }
  });

  it("answers what it cannot deliver, as a router does", async () => {
    const lost = await podNs(1).tryRun(["ping", "-n", "-c", "1", "-W", "2", "10.5.255.9"]);
    expect(lost.stdout).toContain("Destination Net Unreachable");
    const shortLived = await podNs(1).tryRun(["ping", "-n", "-c", "1", "-t", "2", "-W", "2", podIp(2)]);
    expect(shortLived.stdout).toContain("Time to live exceeded");
  });
});

describe("who is let in", () => {
  const isCounted = (reason: string, before: number) =>
    until(async () => (await droppedOn(2, reason)) > before, { what: `a packet dropped as ${reason}` });

  it("drops what comes from no lease, for whom it is not, and with a source that is not the sender's", async () => {
    const [one, two] = [podIp(1), podIp(2)];
    for (const [reason, hex] of [
      ["foreignSource", packet("10.5.250.7", two)],
      ["foreignSource", packet(two, two)],
      ["foreignDestination", packet(one, "10.5.250.7")],
      ["malformed", `46${packet(one, two).slice(2)}`],
      ["malformed", "00"],
      ["malformed", packet(one, two).replace(/^4500001c/, "450000ff")],
    ] as const) {
      const before = await droppedOn(2, reason);
      await sendDatagram(1, hex);
      await isCounted(reason, before);
    }
    const before = await droppedOn(2, "unknownSender");
    await cluster.lan.host(1).namespace.ip("addr", "add", "192.168.50.77/24", "dev", "eth0");
    const stranger = `const s=require("node:dgram").createSocket("udp4");s.bind(0,"192.168.50.77",()=>s.send(Buffer.from("${packet(one, two)}","hex"),8285,"192.168.50.12",()=>process.exit()))`;
    await cluster.lan.host(1).namespace.run([process.execPath, "-e", stranger]);
    await isCounted("unknownSender", before);
    await cluster.lan.host(1).namespace.ip("addr", "del", "192.168.50.77/24", "dev", "eth0");
  });
});

describe("restart", () => {
  it.each(["SIGTERM", "SIGKILL"] as const)("costs little by %s; connections live on", async (signal) => {
    await cluster.untilReady();
    const transfer = transfersUnharmed(podNs(1), podNs(2), podIp(2), 1_500_000_000, 5005);
    await using traffic = await ContinuousPing.start(podNs(1), podIp(2), 5);
    await traffic.more(50);
    const before = await routes(cluster.lan.host(1).namespace);
    const agent = cluster.agent(1);
    agent.signal(signal);
    await agent.exited;
    expect((await routes(cluster.lan.host(1).namespace)).map((line) => line.replace(" linkdown", ""))).toEqual(before);
    cluster.startAgent(1);
    await traffic.more(50);
    const { longestSilenceMs } = await traffic.stop();
    console.log(`${signal}: no packet for ${longestSilenceMs.toFixed(0)} ms`);
    expect(longestSilenceMs).toBeLessThan(5_000);
    await cluster.untilReady();
    expect(await transfer).toBe(true);
  });

  it("mends a deleted device by itself", async () => {
    const { namespace } = cluster.lan.host(2);
    await namespace.ip("link", "del", "dev", "flannel0");
    await until(async () => (await routes(namespace)).includes("10.5.0.0/16 dev flannel0"), {
      what: "the route to be back",
    });
    await untilAllPing(cluster.pods);
  });

  it("mends a device that was put down, with packets coming in all the while", async () => {
    const { namespace } = cluster.lan.host(2);
    await using traffic = await ContinuousPing.start(podNs(1), podIp(2), 5);
    await namespace.ip("link", "set", "dev", "flannel0", "down");
    await until(async () => (await link(namespace, "flannel0"))?.isUp === true, { what: "the device to be up" });
    await until(async () => (await routes(namespace)).includes("10.5.0.0/16 dev flannel0"), {
      what: "the route to be back",
    });
    await traffic.more(50);
    await untilAllPing(cluster.pods);
  });

  it("says what is wrong when another program holds the port, and carries packets once it is gone", async () => {
    const agent = cluster.agent(2);
    await agent.term();
    const { namespace } = cluster.lan.host(2);
    const holder = namespace.spawn(["socat", "-u", "UDP-RECV:8285", "STDOUT"], { stdio: "ignore" });
    await until(async () => (await namespace.run(["ss", "-Hlun", "sport = :8285"])) !== "", {
      what: "the port to be taken",
    });
    const next = cluster.startAgent(2);
    await until(async () => (await next.status()).reasons.some(({ message }) => message.includes("EADDRINUSE")), {
      what: "the reason to be told",
    });
    holder.kill("SIGKILL");
    await cluster.untilReady();
    await untilAllPing(cluster.pods);
  });
});
