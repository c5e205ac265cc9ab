import { describe, expect, it } from "vitest";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import type { LinkMessage, RouteMessage } from "../netlink/rtnetlink/messages.ts";
import { type HostLayout, type OccupiedContext, occupiedPrefixes } from "./occupied-prefixes.ts";

const [KERNEL, BOOT, STATIC, FLANNEL] = [2, 3, 4, 0xf1];
const names = ["eth0", "docker0", "cni0", "flannel.1", "kube-ipvs0"] as const;
type Name = (typeof names)[number];

function link(name: Name): LinkMessage {
  const flags = { isUp: true, isRunning: true, isLoopback: false };
  return { index: indexOf(name), name, mtuBytes: 1_500, ...flags };
}

function indexOf(name: Name): number {
  return names.indexOf(name) + 1;
}

function layout(parts: Partial<Record<Name, readonly string[]>>, routes: readonly RouteMessage[] = []): HostLayout {
  const addresses = names.flatMap((name) =>
    (parts[name] ?? []).map((text) => ({ index: indexOf(name), address: parsePrefix(text), scope: 0, flags: 0 })),
  );
  return { links: names.map(link), addresses, routes };
}

function route(destination: string, parts: Partial<RouteMessage> = {}): RouteMessage {
  return {
    ...{ family: destination.includes(":") ? 6 : 4, destination: parsePrefix(destination), table: 254 },
    ...{ protocol: BOOT, scope: 0, type: 1, metric: 0, tos: 0, onLink: false, isMultipath: false },
    ...{ outIndex: indexOf("eth0") },
    ...parts,
  };
}

const context: OccupiedContext = {
  networks: [parsePrefix("10.5.0.0/16"), parsePrefix("fd00:5::/48")],
  ownSubnets: [parsePrefix("10.5.1.0/24"), parsePrefix("fd00:5:0:1::/64")],
  earlierSubnets: [],
  isFlannelLink: ({ name }) => name.startsWith("flannel"),
  reached: [],
};

function occupied(host: HostLayout, change: Partial<OccupiedContext> = {}): string[] {
  return occupiedPrefixes(host, { ...context, ...change }).map(({ prefix, what }) => `${prefix}: ${what}`);
}

describe("occupied are", () => {
  it("networks that a foreign interface is connected to, in both families", () => {
    expect(occupied(layout({ docker0: ["10.5.77.1/24", "fd00:5:0:77::1/64"], eth0: ["192.0.2.1/24"] }))).toEqual([
      "10.5.77.0/24: 10.5.77.0/24, which docker0 is connected to by its address 10.5.77.1/24",
      "fd00:5:0:77::/64: fd00:5:0:77::/64, which docker0 is connected to by its address fd00:5:0:77::1/64",
    ]);
    expect(occupied(layout({ docker0: ["10.5.0.1/16"] }))[0]).toMatch("10.5.0.0/16: ");
    expect(occupied(layout({ "kube-ipvs0": ["10.5.96.1/32"] }))[0]).toMatch("10.5.96.1/32: ");
  });

  it("not the bridge of our own containers, whatever its prefix, and not flannel's devices", () => {
    const connected = (destination: string, name: Name) =>
      route(destination, { protocol: KERNEL, outIndex: indexOf(name), scope: 253 });
    const host = layout({ cni0: ["10.5.1.1/24"], docker0: ["10.5.1.129/25"], "flannel.1": ["10.5.9.0/32"] }, [
      connected("10.5.1.0/24", "cni0"),
      connected("10.5.1.128/25", "docker0"),
    ]);
    expect(occupied(host)).toEqual([]);
    expect(occupied(layout({ cni0: ["10.5.1.1/16"] }, [connected("10.5.0.0/16", "cni0")]))).toEqual([]);
  });

  it("in a connected network around the whole network only the addresses in use", () => {
    const lan = layout({ eth0: ["10.5.200.7/8"] }, [route("0.0.0.0/0", { gateway: parseAddress("10.5.200.1") })]);
    expect(occupied(lan)).toEqual([
      "10.5.200.7/32: this host's own address 10.5.200.7 on eth0",
      "10.5.200.1/32: the gateway 10.5.200.1",
    ]);
    expect(occupied(layout({ eth0: ["10.9.200.7/8"] }))).toEqual([]);
  });

  it("networks of the kernel's routes to the other end of a link, and no routes that others made", () => {
    const to = (protocol: number) => route("10.5.88.2/32", { protocol, outIndex: indexOf("docker0") });
    expect(occupied(layout({}, [to(KERNEL)]))).toEqual(["10.5.88.2/32: 10.5.88.2/32, which docker0 is connected to"]);
    expect(occupied(layout({}, [to(BOOT), to(STATIC)]))).toEqual([]);
  });

  it("gateways, also one of several, but not those to peers", () => {
    const [first, second] = [parseAddress("10.5.200.1"), parseAddress("10.5.200.2")];
    const nextHops = [
      { outIndex: indexOf("eth0"), gateway: first, isUsable: true },
      { outIndex: indexOf("eth0"), gateway: second, isUsable: true },
    ];
    const { outIndex: _, ...balanced } = route("0.0.0.0/0", { isMultipath: true, nextHops });
    expect(occupied(layout({}, [balanced]))).toHaveLength(2);
    const toPeers = [
      route("10.5.2.0/24", { gateway: first }),
      route("172.16.0.0/24", { gateway: first, protocol: FLANNEL }),
      route("172.16.0.0/24", { gateway: first, outIndex: indexOf("flannel.1") }),
    ];
    expect(occupied(layout({}, toPeers))).toEqual([]);
  });

  it("the store, where it is inside the network", () => {
    const reached = ["10.5.5.1", "192.0.2.5", "fd00:5::5"].map((text) => ({
      address: parseAddress(text),
      what: `the store's address ${text}`,
    }));
    expect(occupied(layout({}), { reached })).toEqual([
      "10.5.5.1/32: the store's address 10.5.5.1",
      "fd00:5::5/128: the store's address fd00:5::5",
    ]);
  });

  it("a bridge of an earlier subnet, and it is named as that", () => {
    const earlierSubnets = [parsePrefix("10.5.77.0/24")];
    expect(occupied(layout({ cni0: ["10.5.77.1/24"] }), { earlierSubnets })).toEqual([
      "10.5.77.0/24: cni0, which still has the address 10.5.77.1/24 of an earlier subnet of this host (10.5.77.0/24)",
    ]);
  });
});
