// The monitor against the real kernel: what others change is told, losses are told, and it ends cleanly.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { addressFromBigInt } from "../../src/ip/address.ts";
import type { Device } from "../../src/netlink/request.ts";
import type { ObjectKind } from "../../src/netlink/rtnetlink/messages.ts";
import { type MonitorMessage, RtnetlinkMonitor } from "../../src/netlink/rtnetlink/monitor.ts";
import { setNeighbour } from "../../src/netlink/rtnetlink/neighbour.ts";
import { Rtnetlink } from "../../src/netlink/rtnetlink/rtnetlink.ts";
import { silentLogger } from "../../src/telemetry/logger.ts";
import { recordingLogger } from "../support/host-fixture.ts";

const allKinds: readonly ObjectKind[] = ["link", "address", "route", "neighbour", "fdb", "nextHop"];

let netlink: Rtnetlink;
let vtep: Device;
let monitor: RtnetlinkMonitor;
let seen: MonitorMessage[];
let overflows: number;

function watch(kinds: readonly ObjectKind[], neighbourIndexes?: () => ReadonlySet<number>): void {
  seen = [];
  overflows = 0;
  monitor.follow({
    kinds,
    onMessages: (messages) => seen.push(...messages),
    onOverflow: () => {
      overflows++;
    },
    logger: silentLogger,
    ...(neighbourIndexes === undefined ? {} : { neighbourIndexes }),
  });
}

/** Waits for a message of which all given fields are as given. */
async function untilSeen(
  kind: MonitorMessage["kind"],
  action: "new" | "delete",
  fields: Readonly<Record<string, unknown>>,
) {
  await until(
    () =>
      seen.some(
        (change) =>
          change.kind === kind &&
          change.action === action &&
          Object.entries(fields).every(([key, value]) => Reflect.get(change.message, key) === value),
      ),
    { what: `${action} ${kind} ${JSON.stringify(fields)} among ${JSON.stringify(seen.slice(-20))}` },
  );
}

beforeAll(() => {
  netlink = Rtnetlink.open();
});

afterAll(async () => {
  await netlink[Symbol.asyncDispose]();
});

beforeEach(async () => {
  await box.ip("link", "add", "dev", "flannel.1", "type", "vxlan", "id", "1", "dstport", "8472", "nolearning");
  await box.ip("link", "set", "dev", "flannel.1", "up");
  const link = (await netlink.dump("link")).find(({ name }) => name === "flannel.1");
  vtep = { index: link?.index ?? 0, name: "flannel.1" };
  monitor = new RtnetlinkMonitor();
});

afterEach(async () => {
  monitor[Symbol.dispose]();
  await box.tryRun(["ip", "link", "del", "dev", "flannel.1"]);
});

describe("what others change is told", () => {
  test("a device set down, changed and deleted", async () => {
    watch(allKinds);
    const { index } = vtep;
    await box.ip("link", "set", "dev", "flannel.1", "down");
    await untilSeen("link", "new", { index, isUp: false });
    await box.ip("link", "set", "dev", "flannel.1", "address", "0a:00:00:00:00:77", "mtu", "1300");
    await untilSeen("link", "new", { index, mac: "0a:00:00:00:00:77", mtuBytes: 1300 });
    await box.ip("link", "del", "dev", "flannel.1");
    await untilSeen("link", "delete", { index, name: "flannel.1", kind: "vxlan" });
  });

  test("addresses, routes, neighbours, forwarding entries and next hops, made and removed", async () => {
    watch(allKinds);
    const { index } = vtep;
    const object = {
      address: ["addr", "10.5.1.0/32", "dev", "flannel.1"],
      neighbour: ["neigh", "10.5.2.0", "lladdr", "0a:00:00:00:00:02", "dev", "flannel.1"],
      nextHop: ["nexthop", "id", "7", "via", "10.5.3.0", "dev", "flannel.1", "onlink"],
      route: ["route", "10.5.2.0/24", "via", "10.5.2.0", "dev", "flannel.1", "onlink"],
    };
    const fields = {
      address: { index, address: "10.5.1.0/32" },
      neighbour: { index, address: "10.5.2.0", mac: "0a:00:00:00:00:02", state: 0x80 },
      nextHop: { id: 7, outIndex: index, gateway: "10.5.3.0" },
      route: { outIndex: index, destination: "10.5.2.0/24", gateway: "10.5.2.0", onLink: true },
    };
    for (const kind of ["address", "neighbour", "nextHop", "route"] as const) {
      const [type = "", ...words] = object[kind];
      await box.ip(type, "add", ...words);
      await untilSeen(kind, "new", fields[kind]);
    }
    const entry = ["0a:00:00:00:00:02", "dst", "192.168.50.12", "dev", "flannel.1"];
    await box.bridge("fdb", "add", ...entry);
    await untilSeen("fdb", "new", { index, mac: "0a:00:00:00:00:02", destination: "192.168.50.12" });
    await box.bridge("fdb", "del", ...entry);
    await untilSeen("fdb", "delete", { index, mac: "0a:00:00:00:00:02", destination: "192.168.50.12" });
    await box.ip("route", "flush", "proto", "boot");
    await untilSeen("route", "delete", { destination: "10.5.2.0/24", outIndex: index });
    await box.ip("nexthop", "flush");
    await untilSeen("nextHop", "delete", { id: 7 });
    await box.ip("neigh", "del", "10.5.2.0", "dev", "flannel.1");
    await until(() => seen.some(({ kind, action }) => kind === "neighbour" && action === "delete"), {
      what: "neighbour",
    });
    await box.ip("addr", "flush", "dev", "flannel.1");
    await untilSeen("address", "delete", fields.address);
  });

  test("IPv6 addresses and routes", async () => {
    watch(["address", "route"]);
    await box.ip("-6", "addr", "add", "fd00:5::1/128", "dev", "flannel.1", "nodad");
    await untilSeen("address", "new", { index: vtep.index, address: "fd00:5::1/128" });
    await box.ip("-6", "route", "add", "fd00:5:0:2::/64", "dev", "flannel.1");
    await untilSeen("route", "new", { outIndex: vtep.index, destination: "fd00:5:0:2::/64", family: 6 });
    expect(seen.every(({ kind }) => kind === "address" || kind === "route")).toBe(true);
  });

  test("a bridge port that leaves its bridge is not told as a deleted device", async () => {
    await box.ip("link", "add", "dev", "br0", "type", "bridge");
    await box.ip("link", "set", "dev", "flannel.1", "master", "br0");
    watch(["link"]);
    await box.ip("link", "set", "dev", "flannel.1", "nomaster");
    await box.ip("link", "del", "dev", "br0");
    await untilSeen("link", "delete", { name: "br0" });
    expect(seen.filter(({ action }) => action === "delete")).toHaveLength(1);
  });

  test("neighbours and forwarding entries of other devices are dropped", async () => {
    await box.ip("link", "add", "dev", "other", "type", "vxlan", "id", "2", "dstport", "8473");
    await box.ip("link", "set", "dev", "other", "up");
    watch(["neighbour", "fdb"], () => new Set([vtep.index]));
    for (const device of ["other", "flannel.1"]) {
      await box.bridge("fdb", "add", "0a:00:00:00:00:02", "dst", "192.168.50.12", "dev", device);
      await box.ip("neigh", "add", "10.5.2.0", "lladdr", "0a:00:00:00:00:02", "dev", device);
    }
    await untilSeen("neighbour", "new", { index: vtep.index, address: "10.5.2.0" });
    expect(new Set(seen.map(({ message }) => Reflect.get(message, "index")))).toEqual(new Set([vtep.index]));
    await box.ip("link", "del", "dev", "other");
  });

  test("each of several who follow hears its kinds and devices, and no more once it has left", async () => {
    await box.ip("link", "add", "dev", "other", "type", "vxlan", "id", "2", "dstport", "8473");
    await box.ip("link", "set", "dev", "other", "up");
    const other = (await netlink.dump("link")).find(({ name }) => name === "other")?.index ?? 0;
    const heard = { links: [] as MonitorMessage[], other: [] as MonitorMessage[] };
    let lost = 0;
    const common = { onOverflow: () => void lost++, logger: silentLogger };
    const links = monitor.follow({ ...common, kinds: ["link"], onMessages: (news) => heard.links.push(...news) });
    monitor.follow({
      ...{ ...common, kinds: ["neighbour", "link"], neighbourIndexes: () => new Set([other]) },
      onMessages: (news) => {
        heard.other.push(...news);
        if (news.some(({ kind, message }) => kind === "link" && message.mtuBytes === 1310)) links[Symbol.dispose]();
      },
    });
    watch(["neighbour"], () => new Set([vtep.index]));
    for (const device of ["other", "flannel.1"])
      await box.ip("neigh", "add", "10.5.2.0", "lladdr", "0a:00:00:00:00:02", "dev", device);
    for (const mtu of ["1310", "1311"]) await box.ip("link", "set", "dev", "other", "mtu", mtu);
    const lastHeard = () => heard.other.some(({ kind, message }) => kind === "link" && message.mtuBytes === 1311);
    await until(lastHeard, { what: "the last change" });
    const devices = (news: readonly MonitorMessage[]) =>
      new Set(news.map(({ kind, message }) => `${kind} ${String(Reflect.get(message, "index"))}`));
    expect(devices(seen)).toEqual(new Set([`neighbour ${vtep.index}`]));
    expect(devices(heard.other)).toEqual(new Set([`neighbour ${other}`, `link ${other}`]));
    expect(heard.links.map(({ message }) => Reflect.get(message, "mtuBytes"))).not.toContain(1311);
    expect(lost).toBe(0);
    await box.ip("link", "del", "dev", "other");
  });

  test("one who fails reads everything again, as after a loss, and costs the others nothing", async () => {
    const { logger, lines } = recordingLogger();
    let rereads = 0;
    monitor.follow({
      kinds: ["link"],
      onMessages: (news) => {
        if (news.some(({ message }) => Reflect.get(message, "mtuBytes") !== 1322)) throw new Error("cannot take it in");
      },
      onOverflow: () => {
        if (++rereads === 2) throw new Error("not now");
      },
      logger,
    });
    watch(["link"]);
    for (const mtu of [1320, 1321, 1322]) {
      await box.ip("link", "set", "dev", "flannel.1", "mtu", String(mtu));
      await untilSeen("link", "new", { index: vtep.index, mtuBytes: mtu });
    }
    // The third change is no trouble, but what got lost with the second has to be read first.
    expect(rereads).toBe(3);
    expect(overflows).toBe(0);
    expect(lines.filter(({ event }) => event === "host.notice-failed")).toHaveLength(1);
  });
});

describe("storms", () => {
  test("a burst of ten thousand changes arrives whole, in bounded portions", async () => {
    let largest = 0;
    let count = 0;
    let lost = 0;
    monitor.follow({
      kinds: ["neighbour"],
      onMessages: (messages) => {
        largest = Math.max(largest, messages.length);
        count += messages.length;
      },
      onOverflow: () => void lost++,
      logger: silentLogger,
    });
    const changes = Array.from({ length: 10_000 }, (_, n) =>
      setNeighbour(vtep, addressFromBigInt(0x0a_40_00_00n + BigInt(n), 4), "0a:00:00:00:00:02"),
    );
    expect((await netlink.apply(changes)).filter((error) => error !== undefined)).toEqual([]);
    await until(() => count >= 10_000, { what: "10,000 messages" });
    expect(largest).toBeLessThanOrEqual(256);
    expect(lost).toBe(0);
  });

  test("a queue that runs over is told, and the monitor goes on", async () => {
    watch(["neighbour", "link"]);
    // Another process changes while ours waits for it and cannot read.
    const lines = Array.from({ length: 60_000 }, (_, n) => {
      const address = addressFromBigInt(0x0a_40_00_00n + BigInt(n), 4);
      return `neigh replace ${address} lladdr 0a:00:00:00:00:02 nud permanent dev flannel.1`;
    });
    expect(spawnSync("ip", ["-batch", "-"], { input: lines.join("\n") }).status).toBe(0);
    await until(() => overflows > 0, { what: "the overflow" });
    await box.ip("link", "set", "dev", "flannel.1", "mtu", "1301");
    await untilSeen("link", "new", { index: vtep.index, mtuBytes: 1301 });
  });
});

describe("the end", () => {
  test("nothing is told after dispose", async () => {
    watch(["link"]);
    await box.ip("link", "set", "dev", "flannel.1", "mtu", "1302");
    await untilSeen("link", "new", { mtuBytes: 1302 });
    const before = seen.length;
    monitor[Symbol.dispose]();
    monitor[Symbol.dispose]();
    await box.ip("link", "set", "dev", "flannel.1", "mtu", "1303");
    for (let turn = 0; turn < 20; turn++) await nextTurn();
    expect(seen).toHaveLength(before);
  });

  test("a monitor that nobody follows does not keep the process alive", async () => {
    const source = `import { RtnetlinkMonitor } from ${JSON.stringify(join(import.meta.dirname, "../../src/netlink/rtnetlink/monitor.ts"))};
      const following = new RtnetlinkMonitor().follow({ kinds: ["link"], onMessages() {}, onOverflow() {}, logger: {} });
      process.on("SIGUSR1", () => {
        following[Symbol.dispose]();
        console.log("disposed");
      });
      console.log("open");`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exit = once(child, "exit");
    await once(child.stdout, "data");
    child.kill("SIGUSR1");
    expect(await exit).toEqual([0, null]);
  });
});
