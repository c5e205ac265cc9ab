// Rtnetlink against the real kernel; iproute2 is the witness.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { fdb, link, neighbours, routes } from "../../lab/kernel-view.ts";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { addressFromBigInt, makePrefix, parseAddress, parsePrefix } from "../../src/ip/address.ts";
import type { Device, NetlinkRequest } from "../../src/netlink/request.ts";
import { addAddress, deleteAddress } from "../../src/netlink/rtnetlink/address.ts";
import { changeLink, deleteLink } from "../../src/netlink/rtnetlink/link.ts";
import { deleteFdbEntry, deleteNeighbour, setFdbEntry, setNeighbour } from "../../src/netlink/rtnetlink/neighbour.ts";
import { deleteNextHop, writeNextHop } from "../../src/netlink/rtnetlink/next-hop.ts";
import { deleteRoute, writeRoute } from "../../src/netlink/rtnetlink/route.ts";
import { Rtnetlink } from "../../src/netlink/rtnetlink/rtnetlink.ts";
import { changeVxlan, createVxlan, type VxlanSpec } from "../../src/netlink/rtnetlink/vxlan.ts";

const PROTOCOL = 0xf1;
const mac = "0a:00:00:00:00:01";
const peerMac = "0a:00:00:00:00:02";
const peer = parseAddress("192.168.50.12");
const peerV6 = parseAddress("fd00:50::12");
const subnet = parsePrefix("10.5.2.0/24");
const gateway = parseAddress("10.5.2.0");
const subnetV6 = parsePrefix("fd00:5:0:2::/64");
const gatewayV6 = parseAddress("fd00:5:0:2::");

let netlink: Rtnetlink;
let underlay: Device;
let vtep: Device;

/** All must succeed. */
async function apply(...requests: readonly NetlinkRequest[]): Promise<void> {
  expect((await netlink.apply(requests)).filter((error) => error !== undefined)).toEqual([]);
}

async function deviceOf(name: string): Promise<Device> {
  const found = (await netlink.dump("link")).find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no link ${name}`);
  return { index: found.index, name };
}

function vxlan(change: Partial<VxlanSpec> = {}): VxlanSpec {
  return {
    name: "flannel.1",
    mac,
    mtuBytes: 1450,
    vni: 1,
    port: 0,
    local: parseAddress("192.168.50.11"),
    underlayIndex: underlay.index,
    learning: false,
    gbp: false,
    ...change,
  };
}

beforeAll(async () => {
  netlink = Rtnetlink.open();
  await box.ip("link", "add", "dev", "eth0", "type", "veth", "peer", "name", "eth0-peer");
  await box.ip("addr", "add", "192.168.50.11/24", "dev", "eth0");
  await box.ip("-6", "addr", "add", "fd00:50::11/64", "dev", "eth0", "nodad");
  await box.ip("link", "set", "dev", "eth0", "up");
  await box.ip("link", "set", "dev", "eth0-peer", "up");
  underlay = await deviceOf("eth0");
});

afterAll(async () => {
  await netlink[Symbol.asyncDispose]();
});

beforeEach(async () => {
  await apply(createVxlan(vxlan()));
  vtep = await deviceOf("flannel.1");
  await apply(changeLink(vtep, { isUp: true }));
});

afterEach(async () => {
  await apply(deleteLink(vtep));
});

describe("links", () => {
  test("a vxlan device is what upstream makes, and reads back", async () => {
    expect(await link(box, "flannel.1")).toMatchObject({
      mtuBytes: 1450,
      mac,
      isUp: true,
      kind: "vxlan",
      settings: {
        id: 1,
        local: "192.168.50.11",
        link: "eth0",
        port: 8472,
        learning: false,
        ttl: 0,
        udp_zero_csum6_tx: false,
        udp_zero_csum6_rx: false,
      },
    });
    expect((await box.ipJson("link", "show", "dev", "flannel.1"))[0]).not.toHaveProperty("txqlen");
    expect((await netlink.dump("link", { index: vtep.index }))[0]).toMatchObject({
      name: "flannel.1",
      kind: "vxlan",
      mtuBytes: 1450,
      mac,
      isUp: true,
      vxlan: { vni: 1, port: 8472, local: "192.168.50.11", linkIndex: underlay.index, learning: false, gbp: false },
    });
  });

  test("port, GBP, learning and an IPv6 underlay", async () => {
    const local = parseAddress("fd00:50::11");
    await apply(createVxlan(vxlan({ name: "flannel-v6.1", vni: 2, port: 4789, local, gbp: true, learning: true })));
    const device = await deviceOf("flannel-v6.1");
    const seen = await link(box, "flannel-v6.1");
    expect(seen?.settings).toMatchObject({ id: 2, local6: "fd00:50::11", port: 4789, learning: true, gbp: true });
    expect((await netlink.dump("link", { index: device.index }))[0]?.vxlan).toMatchObject({
      vni: 2,
      port: 4789,
      local,
      learning: true,
      gbp: true,
    });
    await apply(deleteLink(device));
    expect(await link(box, "flannel-v6.1")).toBeUndefined();
  });

  test("everything changeable is changed on the living device", async () => {
    await box.ip("link", "add", "dev", "eth1", "type", "veth", "peer", "name", "eth1-peer");
    const other = await deviceOf("eth1");
    const local = parseAddress("192.168.60.11");
    await apply(
      changeVxlan(vtep, { local, underlayIndex: other.index, learning: true }),
      changeLink(vtep, { mtuBytes: 1400, mac: "0a:00:00:00:00:09" }),
    );
    expect(await link(box, "flannel.1")).toMatchObject({
      index: vtep.index,
      mtuBytes: 1400,
      mac: "0a:00:00:00:00:09",
      isUp: true,
      settings: { id: 1, local: "192.168.60.11", link: "eth1", learning: true },
    });
    await apply(
      changeLink(vtep, { isUp: false }),
      changeVxlan(vtep, { learning: false }),
      // The kernel deletes a vxlan device together with the one below it.
      changeVxlan(vtep, { underlayIndex: underlay.index }),
    );
    expect(await link(box, "flannel.1")).toMatchObject({
      isUp: false,
      settings: { learning: false, link: "eth0", local: "192.168.60.11" },
    });
    await box.ip("link", "del", "dev", "eth1");
  });
});

describe("objects on the device", () => {
  test("addresses", async () => {
    const prefixes = ["10.5.1.0/32", "10.6.1.1/24", "fd00:5:0:1::/128"].map(parsePrefix);
    await apply(...prefixes.map((prefix) => addAddress(vtep, prefix)));
    const seen = (await box.ip("-o", "addr", "show", "dev", "flannel.1")).replaceAll(/\s+/g, " ");
    expect(seen).toContain("inet 10.5.1.0/32 scope global flannel.1");
    expect(seen).toContain("inet 10.6.1.1/24 brd 10.6.1.255 scope global flannel.1");
    expect(seen).toContain("inet6 fd00:5:0:1::/128 scope global");
    const read = await netlink.dump("address", { index: vtep.index });
    expect(read.map((row) => row.address)).toEqual(expect.arrayContaining(prefixes));
    expect((await netlink.dump("address", { index: vtep.index, family: 4 })).map((row) => row.address)).toEqual(
      prefixes.slice(0, 2),
    );
    await apply(...prefixes.map((prefix) => deleteAddress(vtep, prefix)));
    expect(await box.ip("-o", "addr", "show", "dev", "flannel.1", "scope", "global")).toBe("");
  });

  test("routes as upstream's, by gateway and on link; set replaces", async () => {
    await apply(
      addAddress(vtep, parsePrefix("10.5.1.0/32")),
      addAddress(vtep, parsePrefix("fd00:5:0:1::/128")),
      writeRoute("set", { destination: subnet, device: vtep, gateway, onLink: true }),
      writeRoute("set", { destination: subnetV6, device: vtep, gateway: gatewayV6, onLink: true }),
    );
    const plain = [
      "10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
      "fd00:5:0:2::/64 via fd00:5:0:2:: dev flannel.1 metric 1024 onlink pref medium",
    ];
    expect(await routes(box)).toEqual(expect.arrayContaining(plain));
    const read = await netlink.dump("route", { index: vtep.index, table: 254, protocol: 3 });
    expect(read).toEqual([
      expect.objectContaining({
        destination: subnet,
        gateway,
        onLink: true,
        protocol: 3,
        metric: 0,
        scope: 0,
        type: 1,
      }),
      expect.objectContaining({ destination: subnetV6, gateway: gatewayV6, onLink: true, protocol: 3, metric: 1024 }),
    ]);
    // DirectRouting takes over: another gateway, another device, our own protocol number.
    await apply(writeRoute("set", { destination: subnet, device: underlay, gateway: peer, protocol: PROTOCOL }));
    expect(await routes(box)).toContain("10.5.2.0/24 via 192.168.50.12 dev eth0 proto 241");
    expect(await netlink.dump("route", { protocol: PROTOCOL })).toHaveLength(1);
    await apply(
      deleteRoute({ destination: subnet, device: underlay, gateway: peer, protocol: PROTOCOL }),
      deleteRoute({ destination: subnetV6, device: vtep, gateway: gatewayV6 }),
    );
    expect((await routes(box)).filter((line) => /^(10\.5\.2|fd00:5:0:2)/.test(line))).toEqual([]);
  });

  test("next hops and routes by their id, both families; an object takes its routes with it", async () => {
    await apply(
      addAddress(vtep, parsePrefix("fd00:5:0:1::/128")),
      writeNextHop("set", { id: 1001, device: vtep, gateway, onLink: true, protocol: PROTOCOL }),
      writeNextHop("set", { id: 1002, device: vtep, gateway: gatewayV6, onLink: true, protocol: PROTOCOL }),
      writeRoute("set", { destination: subnet, nextHopId: 1001 }),
      writeRoute("set", { destination: subnetV6, nextHopId: 1002 }),
    );
    expect(await box.ip("nexthop", "show")).toContain("id 1001 via 10.5.2.0 dev flannel.1 scope link proto 241 onlink");
    expect((await routes(box)).filter((line) => line.includes("nhid"))).toEqual([
      "10.5.2.0/24 nhid 1001 via 10.5.2.0 dev flannel.1 onlink",
      "fd00:5:0:2::/64 nhid 1002 via fd00:5:0:2:: dev flannel.1 metric 1024 onlink pref medium",
    ]);
    expect(await netlink.dump("nextHop", { index: vtep.index, protocol: PROTOCOL })).toEqual([
      { id: 1001, family: 4, protocol: PROTOCOL, outIndex: vtep.index, gateway, onLink: true, isGroup: false },
      {
        id: 1002,
        family: 6,
        protocol: PROTOCOL,
        outIndex: vtep.index,
        gateway: gatewayV6,
        onLink: true,
        isGroup: false,
      },
    ]);
    expect(await netlink.dump("nextHop", { family: 6 })).toMatchObject([{ id: 1002 }]);
    expect(await netlink.dump("route", { index: vtep.index, family: 4, table: 254 })).toMatchObject([
      { destination: subnet, nextHopId: 1001 },
    ]);
    await apply(deleteRoute({ destination: subnet, nextHopId: 1001 }), deleteNextHop(1002), deleteNextHop(1001));
    expect((await routes(box)).filter((line) => line.includes("nhid"))).toEqual([]);
    expect(await netlink.dump("nextHop")).toEqual([]);
  });

  test("a plain route becomes one by next hop and back, without a gap", async () => {
    const plain = { destination: subnet, device: vtep, gateway, onLink: true };
    await apply(
      writeRoute("set", plain),
      writeNextHop("set", { id: 1001, device: vtep, gateway, onLink: true, protocol: PROTOCOL }),
      writeRoute("set", { destination: subnet, nextHopId: 1001 }),
    );
    expect(await routes(box, "dev", "flannel.1")).toEqual(["10.5.2.0/24 nhid 1001 via 10.5.2.0 onlink"]);
    await apply(writeRoute("set", plain));
    expect(await routes(box, "dev", "flannel.1")).toEqual(["10.5.2.0/24 via 10.5.2.0 onlink"]);
  });

  test("neighbours, both families", async () => {
    await apply(
      setNeighbour(vtep, gateway, mac),
      setNeighbour(vtep, gatewayV6, peerMac),
      setNeighbour(vtep, gateway, peerMac),
    );
    expect(await neighbours(box, "flannel.1")).toEqual([
      `10.5.2.0 lladdr ${peerMac} PERMANENT`,
      `fd00:5:0:2:: lladdr ${peerMac} PERMANENT`,
    ]);
    expect(await netlink.dump("neighbour", { index: vtep.index, family: 4 })).toEqual([
      { family: 4, index: vtep.index, address: gateway, mac: peerMac, state: 0x80 },
    ]);
    expect((await netlink.dump("neighbour", { index: vtep.index })).map((row) => row.address)).toEqual(
      expect.arrayContaining([gateway, gatewayV6]),
    );
    await apply(deleteNeighbour(vtep, gateway), deleteNeighbour(vtep, gatewayV6));
    expect(await neighbours(box, "flannel.1")).toEqual([]);
  });

  test("forwarding entries; set moves one to another host", async () => {
    const moved = parseAddress("192.168.50.13");
    await apply(setFdbEntry(vtep, peerMac, peer), setFdbEntry(vtep, peerMac, moved));
    expect(await fdb(box, "flannel.1")).toEqual([`${peerMac} dst 192.168.50.13 self permanent`]);
    expect(await netlink.dump("fdb", { index: vtep.index })).toEqual([
      { index: vtep.index, mac: peerMac, destination: moved, state: 0x80, flags: 2 },
    ]);
    expect(await netlink.dump("fdb", { index: underlay.index })).toEqual([]);
    await apply(deleteFdbEntry(vtep, peerMac, moved));
    expect(await fdb(box, "flannel.1")).toEqual([]);
  });

  test("forwarding entries to IPv6 hosts", async () => {
    await apply(createVxlan(vxlan({ name: "flannel-v6.1", vni: 2, local: parseAddress("fd00:50::11") })));
    const device = await deviceOf("flannel-v6.1");
    await apply(setFdbEntry(device, peerMac, peerV6));
    expect(await fdb(box, "flannel-v6.1")).toEqual([`${peerMac} dst fd00:50::12 self permanent`]);
    expect(await netlink.dump("fdb", { index: device.index })).toMatchObject([{ mac: peerMac, destination: peerV6 }]);
    await apply(deleteLink(device));
  });
});

describe("errors", () => {
  test("each stands at its request's place, with the kernel's own words; the others are done", async () => {
    const unreachable = { destination: subnet, device: vtep, gateway: parseAddress("172.31.0.1") };
    const results = await netlink.apply([
      setNeighbour(vtep, gateway, peerMac),
      createVxlan(vxlan()),
      writeRoute("create", unreachable),
      deleteNeighbour(vtep, parseAddress("10.5.9.0")),
      deleteFdbEntry(vtep, peerMac, peer),
      deleteRoute({ destination: subnet }),
      deleteNextHop(4711),
      changeLink({ index: 999_999, name: "gone" }, { isUp: true }),
      setNeighbour(vtep, gateway, "no mac"),
      setFdbEntry(vtep, peerMac, peer),
    ]);
    expect(results.map((error) => error?.code)).toEqual([
      undefined,
      "KERNEL_EXISTS",
      "KERNEL_REJECTED",
      "KERNEL_NOT_FOUND",
      "KERNEL_NOT_FOUND",
      "KERNEL_NOT_FOUND",
      "KERNEL_NOT_FOUND",
      "KERNEL_NOT_FOUND",
      "INTERNAL",
      undefined,
    ]);
    const rejected = results[2];
    expect(rejected?.message).toBe(
      "add route 10.5.2.0/24 via 172.31.0.1 dev flannel.1: ENETUNREACH (Nexthop has invalid gateway)",
    );
    expect(rejected?.details).toMatchObject({ errno: "ENETUNREACH", kernelText: "Nexthop has invalid gateway" });
    expect(results[8]?.message).toBe("set neighbour 10.5.2.0 lladdr no mac dev flannel.1: cannot be encoded");
    expect(await neighbours(box, "flannel.1")).toHaveLength(1);
    expect(await fdb(box, "flannel.1")).toHaveLength(1);
  });

  test("batches in which every request fails, the last included", async () => {
    const requests = Array.from({ length: 200 }, (_, index) => deleteNextHop(5000 + index));
    const results = await netlink.apply(requests);
    expect(results).toHaveLength(200);
    expect(results.every((error, index) => error?.details["operation"] === `delete nexthop id ${5000 + index}`)).toBe(
      true,
    );
    expect(await netlink.apply([])).toEqual([]);
    const lost = await netlink.apply([setNeighbour(vtep, gateway, "no mac")]);
    expect(lost[0]?.code).toBe("INTERNAL");
  });

  test("an aborted signal cancels what was not sent", async () => {
    const controller = new AbortController();
    const requests = Array.from({ length: 200 }, (_, index) => deleteNextHop(5000 + index));
    const pending = netlink.apply(requests, controller.signal);
    setImmediate(() => controller.abort());
    const codes = (await pending).map((error) => error?.code);
    expect(codes).toHaveLength(200);
    expect(codes[0]).toBe("KERNEL_NOT_FOUND");
    expect(codes[199]).toBe("CANCELLED");
  });

  test("dumps of devices and tables that do not exist are empty", async () => {
    for (const kind of ["link", "address", "route", "neighbour", "fdb", "nextHop"] as const) {
      expect(await netlink.dump(kind, { index: 999_999 })).toEqual([]);
    }
    expect(await netlink.dump("route", { table: 4711 })).toEqual([]);
  });

  test("after dispose everything is refused", async () => {
    const closed = Rtnetlink.open();
    await closed[Symbol.asyncDispose]();
    await expect(closed.dump("link")).rejects.toMatchObject({ code: "INTERNAL" });
    await expect(closed.apply([deleteNextHop(1)])).rejects.toMatchObject({ code: "INTERNAL" });
    await closed[Symbol.asyncDispose]();
  });
});

describe("route look-up", () => {
  test("a neighbour on the link has no gateway, a remote host has one", async () => {
    expect(await netlink.routeLookup(peer)).toMatchObject({
      outIndex: underlay.index,
      preferredSource: "192.168.50.11",
    });
    expect(await netlink.routeLookup(peer)).not.toHaveProperty("gateway");
    expect(await netlink.routeLookup(peerV6)).toMatchObject({ family: 6, outIndex: underlay.index });
    await box.ip("route", "add", "default", "via", "192.168.50.1");
    expect(await netlink.routeLookup(parseAddress("9.9.9.9"))).toMatchObject({ gateway: "192.168.50.1" });
    await box.ip("route", "del", "default");
  });

  test.each(["unreachable", "prohibit", "blackhole"])("a route of type %s is no route", async (type) => {
    await box.ip("route", "add", type, "172.30.0.0/16");
    await box.ip("-6", "route", "add", type, "fd00:30::/32");
    for (const destination of ["172.30.0.1", "fd00:30::1"]) {
      await expect(netlink.routeLookup(parseAddress(destination))).rejects.toMatchObject({ code: "KERNEL_NOT_FOUND" });
    }
    await box.ip("route", "del", type, "172.30.0.0/16");
    await box.ip("-6", "route", "del", type, "fd00:30::/32");
  });

  test("nothing leads there", async () => {
    for (const destination of ["9.9.9.9", "2001:db8::1"]) {
      await expect(netlink.routeLookup(parseAddress(destination))).rejects.toMatchObject({ code: "KERNEL_NOT_FOUND" });
    }
  });
});

describe("ten thousand peers", () => {
  const peers = Array.from({ length: 10_000 }, (_, n) => {
    const base = addressFromBigInt(0x0a_40_00_00n + BigInt(n) * 256n, 4);
    const lladdr = `0a:00:00:00:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`;
    return {
      id: 20_000 + n,
      gateway: base,
      subnet: makePrefix(base, 24),
      lladdr,
      host: addressFromBigInt(0xac_10_00_01n + BigInt(n), 4),
    };
  });

  test("are programmed, listed and removed while the event loop goes on and others use the socket", async () => {
    // CPU time: how long others kept the core says nothing about us.
    let longestMs = 0;
    let last = process.cpuUsage();
    const timer = setInterval(() => {
      const { user, system } = process.cpuUsage(last);
      longestMs = Math.max(longestMs, (user + system) / 1_000);
      last = process.cpuUsage();
    }, 1);
    const requests = peers.flatMap((one) => [
      setNeighbour(vtep, one.gateway, one.lladdr),
      setFdbEntry(vtep, one.lladdr, one.host),
      writeNextHop("set", { id: one.id, device: vtep, gateway: one.gateway, onLink: true, protocol: PROTOCOL }),
      writeRoute("set", { destination: one.subnet, nextHopId: one.id }),
    ]);
    const [results, links] = await Promise.all([netlink.apply(requests), netlink.dump("link")]);
    expect(results.filter((error) => error !== undefined)).toEqual([]);
    expect(links.length).toBeGreaterThan(2);
    const filter = { index: vtep.index, family: 4 } as const;
    const [gateways, macs, nextHops, destinations] = await Promise.all([
      netlink.dump("neighbour", filter),
      netlink.dump("fdb", filter),
      netlink.dump("nextHop", filter),
      netlink.dump("route", { ...filter, table: 254 }),
    ]);
    expect(new Set(gateways.map((row) => row.address))).toEqual(new Set(peers.map((one) => one.gateway)));
    expect(new Set(macs.map((row) => row.mac))).toEqual(new Set(peers.map((one) => one.lladdr)));
    expect(new Set(nextHops.map((row) => row.id))).toEqual(new Set(peers.map((one) => one.id)));
    expect(new Set(destinations.map((row) => row.destination))).toEqual(new Set(peers.map((one) => one.subnet)));
    await apply(...peers.map((one) => deleteNextHop(one.id)));
    expect(await netlink.dump("route", { ...filter, table: 254 })).toEqual([]);
    clearInterval(timer);
    // One batch takes well under a millisecond; the bound leaves room for a collection of garbage.
    expect(longestMs).toBeGreaterThan(0);
    expect(longestMs).toBeLessThan(250);
  });
});
