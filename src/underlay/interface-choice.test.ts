import { describe, expect, test } from "vitest";
import { type Address, parseAddress, parsePrefix } from "../ip/address.ts";
import type { AddressMessage, LinkMessage, RouteMessage } from "../netlink/rtnetlink/messages.ts";
import { followInterface } from "./follow-interface.ts";
import { chooseInterface } from "./interface-choice.ts";
import type { InterfaceFacts, InterfaceOptions } from "./interface-facts.ts";

const PERMANENT = 0x80;
const DEPRECATED = 0x20;
const TEMPORARY = 0x01;

function link(index: number, name: string, extra: Partial<LinkMessage> = {}): LinkMessage {
  return { index, name, mtuBytes: 1500, isUp: true, isRunning: true, isLoopback: name === "lo", ...extra };
}

function address(index: number, text: string, flags = PERMANENT): AddressMessage {
  return { index, address: parsePrefix(text), scope: 0, flags };
}

function defaultRoute(family: 4 | 6, outIndex: number): RouteMessage {
  return {
    family,
    destination: parsePrefix(family === 4 ? "0.0.0.0/0" : "::/0"),
    table: 254,
    protocol: 3,
    scope: 0,
    type: 1,
    metric: 0,
    tos: 0,
    outIndex,
    onLink: false,
    isMultipath: false,
  };
}

const facts: InterfaceFacts = {
  links: [link(1, "lo"), link(2, "eth0"), link(3, "dummy0")],
  addresses: [
    address(1, "127.0.0.1/8"),
    address(1, "::1/128"),
    address(2, "192.168.50.11/24"),
    address(2, "fd00:1::11/64"),
    address(3, "1.10.100.1/24"),
    address(3, "192.168.200.128/24"),
    address(3, "172.16.30.18/24"),
    address(3, "172.16.31.200/24"),
    address(3, "172.16.32.100/24"),
    address(3, "2001:db8::1/64"),
    address(3, "fe80::1/64"),
  ],
  routes: [defaultRoute(4, 2), defaultRoute(6, 2)],
};

const ipv4Only: InterfaceOptions = { families: new Set([4]), interfaces: [], interfaceRegexes: [] };
const dual: InterfaceOptions = { ...ipv4Only, families: new Set([4, 6]) };

function choose(options: Partial<InterfaceOptions>, changed: Partial<InterfaceFacts> = {}) {
  return chooseInterface({ ...ipv4Only, ...options }, { ...facts, ...changed }).interface;
}

describe("a default route with several next hops", () => {
  const over = (...nextHops: NonNullable<RouteMessage["nextHops"]>): RouteMessage => {
    const { outIndex: _, ...route } = defaultRoute(4, 0);
    return { ...route, isMultipath: true, nextHops };
  };
  const hop = (outIndex: number, isUsable = true) => ({ outIndex, isUsable });

  test.each<[string, RouteMessage[], string]>([
    ["the first", [over(hop(3), hop(2))], "dummy0"],
    ["the first that can be used", [over(hop(3, false), hop(2))], "eth0"],
    ["the first of which there is a link", [over(hop(9), hop(2))], "eth0"],
    ["the first when none can be used", [over(hop(3, false), hop(2, false))], "dummy0"],
    ["the next route when it leads nowhere", [over(hop(9)), defaultRoute(4, 2)], "eth0"],
    ["the next route when it has none", [over(), defaultRoute(4, 2)], "eth0"],
    ["not one that rejects", [{ ...defaultRoute(4, 3), type: 7 }, defaultRoute(4, 2)], "eth0"],
  ])("%s", (_, routes, name) => {
    expect(choose({}, { routes }).name).toBe(name);
  });

  test("a link that is down is passed over", () => {
    const links = [link(2, "eth0", { isUp: false }), link(3, "dummy0")];
    expect(choose({}, { links, routes: [over(hop(2), hop(3))] }).name).toBe("dummy0");
  });
});

describe("flannel's test vectors", () => {
  test.each([
    ["regex for an address", { interfaceRegexes: ["192\\.168\\.200\\.\\d+"] }, "192.168.200.128"],
    ["regex for a name", { interfaceRegexes: ["dummy\\d+"] }, "1.10.100.1"],
    ["name", { interfaces: ["dummy0"] }, "1.10.100.1"],
    ["address", { interfaces: ["172.16.30.18"] }, "172.16.30.18"],
  ])("%s", (_, options, expected) => {
    expect(choose(options)).toMatchObject({ name: "dummy0", address: expected, publicIp: expected });
  });

  test("regex together with a public IP on the same interface", () => {
    const chosen = choose({ interfaceRegexes: ["172\\.16\\.30\\.\\d+"], publicIp: "172.16.31.200" });
    expect(chosen).toMatchObject({ address: "172.16.30.18", publicIp: "172.16.31.200" });
  });

  test("can-reach takes interface and source of the kernel's answer", () => {
    const reach = { outIndex: 3, preferredSource: parseAddress("172.16.32.100") };
    expect(choose({ canReach: "172.16.32.254" }, { reach })).toMatchObject({
      name: "dummy0",
      address: "172.16.32.100",
    });
  });

  test("address in dual stack", () => {
    const chosen = choose({ ...dual, interfaces: ["172.16.30.18"], publicIpv6: "2001:db8::1" });
    expect(chosen).toMatchObject({ address: "172.16.30.18", ipv6Address: "2001:db8::1", publicIpv6: "2001:db8::1" });
  });
});

describe("without an interface flag", () => {
  test("the default route decides", () => {
    expect(choose(dual)).toMatchObject({ name: "eth0", address: "192.168.50.11", ipv6Address: "fd00:1::11" });
  });

  test("a public IP of this host decides", () => {
    expect(choose({ publicIp: "172.16.31.200" })).toMatchObject({ name: "dummy0", address: "172.16.31.200" });
  });

  test("a public IP behind NAT binds to the interface address and says so", () => {
    const choice = chooseInterface({ ...ipv4Only, publicIp: "203.0.113.7" }, facts);
    expect(choice.interface).toMatchObject({ name: "eth0", address: "192.168.50.11", publicIp: "203.0.113.7" });
    expect(choice.warnings.join()).toMatch(/no interface of this host has the public address 203\.0\.113\.7.*eth0/);
  });

  test("dual stack with only --public-ipv6 takes its interface and picks the IPv4 address there", () => {
    const chosen = choose({ ...dual, publicIpv6: "2001:db8::1" });
    expect(chosen).toMatchObject({ name: "dummy0", address: "1.10.100.1", publicIpv6: "2001:db8::1" });
  });

  test("default routes through different interfaces are refused in dual stack", () => {
    const routes = [defaultRoute(4, 2), defaultRoute(6, 3)];
    expect(() => choose(dual, { routes })).toThrow(/IPv4 default route uses eth0, the IPv6 default route dummy0/);
  });
});

describe("order and failures", () => {
  test("the first selector that fits wins; the others are tried in order", () => {
    expect(choose({ interfaces: ["eth9", "eth0"], interfaceRegexes: ["dummy"] }).name).toBe("eth0");
    expect(choose({ interfaces: ["eth9"], interfaceRegexes: ["nothing", "^dummy"] }).name).toBe("dummy0");
  });

  test("failure lists every interface with its addresses", () => {
    expect(() => choose({ interfaces: ["eth9"] })).toThrow(
      expect.objectContaining({
        code: "INTERFACE_NOT_FOUND",
        message: expect.stringMatching(/no interface is named eth9.*eth0 \(192\.168\.50\.11, fd00:1::11\).*dummy0/s),
      }),
    );
  });

  test("public addresses of one host must be on one interface in dual stack", () => {
    expect(() => choose({ ...dual, interfaces: ["192.168.50.11"], publicIpv6: "2001:db8::1" })).toThrow(/is on dummy0/);
  });

  test("an interface without an address of an enabled family is not taken", () => {
    const onlyV4 = { addresses: facts.addresses.filter((found) => !found.address.includes(":")) };
    expect(() => choose({ ...dual, interfaces: ["eth0"] }, onlyV4)).toThrow(/eth0 has no usable IPv6 address/);
  });

  test("an MTU of zero is refused", () => {
    expect(() => choose({ interfaces: ["eth0"] }, { links: [link(2, "eth0", { mtuBytes: 0 })] })).toThrow(/no MTU/);
  });

  test.each([
    [{ publicIp: "300.1.1.1" }, "--public-ip=300.1.1.1 is not an IPv4 address"],
    [{ publicIp: "fd00::1" }, "--public-ip=fd00::1 is not an IPv4 address"],
    [{ canReach: "example.org" }, "--iface-can-reach=example.org is not an IP address"],
    [{ interfaceRegexes: ["eth("] }, "--iface-regex=eth( is not a regular expression"],
  ])("bad text %j", (options, message) => {
    expect(() => choose(options)).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
    expect(() => choose(options)).toThrow(message);
  });
});

test("address preference: global, then permanent, then not temporary; deprecated last of all, loopback never", () => {
  const preferred = (...addresses: AddressMessage[]): Address | undefined =>
    choose({ families: new Set([6]), interfaces: ["eth0"] }, { addresses }).ipv6Address;
  const temporary = address(2, "fd00::1/64", TEMPORARY);
  const dynamic = address(2, "fd00::2/64", 0);
  const permanent = address(2, "fd00::3/64", PERMANENT);
  const deprecated = address(2, "fd00::4/64", PERMANENT | DEPRECATED);
  const linkLocal = address(2, "fe80::5/64", PERMANENT);
  expect(preferred(linkLocal, temporary, deprecated, dynamic, permanent)).toBe("fd00::3");
  expect(preferred(linkLocal, temporary, deprecated, dynamic)).toBe("fd00::2");
  expect(preferred(linkLocal, temporary, deprecated)).toBe("fd00::1");
  expect(preferred(linkLocal, deprecated)).toBe("fe80::5");
  expect(preferred(deprecated)).toBe("fd00::4");
  expect(() => preferred(address(2, "::1/128"))).toThrow(/no usable IPv6 address/);
});

describe("a weak address does not outweigh a strong one", () => {
  const preferred = (addresses: AddressMessage[], options: Partial<InterfaceOptions> = {}): Address | undefined =>
    choose({ interfaces: ["eth0"], ...options }, { addresses }).address;
  // By DHCP, so not permanent; keepalived's beside it is.
  const dhcp = address(2, "192.168.50.11/24", 0);
  const floating = address(2, "192.168.50.100/32");

  test("a /32 beside a wider prefix floats", () => {
    expect(preferred([floating, dhcp])).toBe("192.168.50.11");
    expect(preferred([floating, address(2, "169.254.7.7/16")])).toBe("192.168.50.100");
    expect(preferred([floating])).toBe("192.168.50.100");
  });

  test("what was announced before comes first while it is there, also deprecated or a /32", () => {
    const remembered = new Set([parseAddress("192.168.50.11")]);
    expect(preferred([address(2, "192.168.50.2/24"), dhcp, floating], { remembered })).toBe("192.168.50.11");
    expect(preferred([floating, address(2, "192.168.50.11/24", DEPRECATED)], { remembered })).toBe("192.168.50.11");
    expect(preferred([dhcp, floating], { remembered: new Set([parseAddress("192.168.50.100")]) })).toBe(
      "192.168.50.100",
    );
    expect(preferred([floating, address(2, "192.168.50.12/24")], { remembered })).toBe("192.168.50.12");
  });

  test("the remembered address does not overrule a selector that names another", () => {
    const remembered = new Set([parseAddress("192.168.50.11")]);
    const both = [address(2, "192.168.50.11/24"), address(2, "192.168.50.12/24")];
    expect(preferred(both, { remembered, interfaces: ["192.168.50.12"] })).toBe("192.168.50.12");
    expect(preferred(both, { remembered, interfaces: [], interfaceRegexes: ["50\\.12"] })).toBe("192.168.50.12");
  });

  test("an address that failed duplicate address detection, or is in it, is not announced", () => {
    const failed = address(2, "fd00::1/64", PERMANENT | 0x08);
    const tentative = address(2, "fd00::2/64", PERMANENT | 0x40);
    const optimistic = address(2, "fd00::3/64", PERMANENT | 0x44);
    const v6 = { families: new Set([6] as const) };
    const chosen = (addresses: AddressMessage[], more: Partial<InterfaceOptions> = {}) =>
      choose({ ...v6, interfaces: ["eth0"], ...more }, { addresses }).ipv6Address;
    expect(chosen([failed, tentative, optimistic, address(2, "fd00::4/64", 0)])).toBe("fd00::4");
    expect(() => chosen([failed])).toThrow(/fd00::1 failed duplicate address detection: another host has this address/);
    expect(() => chosen([tentative])).toThrow(/fd00::2 is still in duplicate address detection/);
    expect(() => chosen([failed], { interfaces: ["fd00::1"] })).toThrow(/another host has this address/);
    const remembered = new Set([parseAddress("fd00::1"), parseAddress("fd00::2")]);
    expect(chosen([failed, address(2, "fd00::4/64"), tentative], { remembered })).toBe("fd00::2");
    expect(() => chosen([failed], { remembered })).toThrow(/another host has this address/);
  });
});

test("in dual stack a link-local IPv6 address is none, unless it is named", () => {
  const addresses = [address(2, "192.168.50.11/24"), address(2, "fe80::5/64")];
  expect(() => choose({ ...dual, interfaces: ["eth0"] }, { addresses })).toThrow(/eth0 has no usable IPv6 address/);
  expect(choose({ ...dual, interfaces: ["fe80::5"] }, { addresses }).ipv6Address).toBe("fe80::5");
});

test("--iface also takes an alternative name", () => {
  const links = [link(2, "enp0s31f6", { altNames: ["lan0", "eth0"] }), link(3, "eth0")];
  const addresses = [address(2, "192.168.50.11/24"), address(3, "192.168.50.12/24")];
  expect(choose({ interfaces: ["lan0"] }, { links, addresses }).name).toBe("enp0s31f6");
  expect(choose({ interfaces: ["eth0"] }, { links, addresses }).index).toBe(3);
});

describe("an address on a device that packets do not leave through", () => {
  const route = (destination: string, outIndex: number, more: Partial<RouteMessage> = {}): RouteMessage => ({
    ...defaultRoute(4, outIndex),
    destination: parsePrefix(destination),
    ...more,
  });
  const links = [link(1, "lo", { mtuBytes: 65_536 }), link(2, "eth0"), link(3, "dummy0", { kind: "dummy" })];
  const addresses = [
    address(1, "127.0.0.1/8"),
    address(1, "10.0.0.1/32"),
    address(2, "192.168.50.11/24"),
    address(3, "10.0.0.3/24"),
  ];
  const fabric = { links, addresses, routes: [route("192.168.50.0/24", 2), defaultRoute(4, 2)] };
  const bound = { name: "eth0", mtuBytes: 1500, address: "10.0.0.1", publicIp: "10.0.0.1", addressDevice: "lo" };

  test.each<[string, Partial<InterfaceOptions>]>([
    ["by public IP", { publicIp: "10.0.0.1" }],
    ["by address", { interfaces: ["10.0.0.1"] }],
    ["by name", { interfaces: ["lo"] }],
    ["by regex", { interfaceRegexes: ["^10\\.0\\.0\\.1$"] }],
    ["beside a named interface", { interfaces: ["eth0"], publicIp: "10.0.0.1" }],
  ])("%s: the kernel's way out, bound to the address", (_, options) => {
    expect(choose(options, fabric)).toMatchObject(bound);
  });

  test("a dummy device is none whatever its prefix, another device when it has a /32 and no route", () => {
    expect(choose({ interfaces: ["dummy0"] }, fabric)).toMatchObject({ name: "eth0", address: "10.0.0.3" });
    const bridge = { ...fabric, links: [...links, link(4, "br0", { kind: "bridge" })] };
    const narrow = { ...bridge, addresses: [...addresses, address(4, "10.0.0.4/32")] };
    expect(choose({ interfaces: ["br0"] }, narrow)).toMatchObject({ name: "eth0", address: "10.0.0.4" });
    const routed = { ...narrow, routes: [...fabric.routes, route("10.1.0.0/16", 4)] };
    expect(choose({ interfaces: ["br0"] }, routed).name).toBe("br0");
  });

  test("the way is that of the widest route, with the route's MTU, and never through the overlay", () => {
    const routes = [route("10.0.0.2/32", 2), route("10.0.0.0/24", 2, { mtuBytes: 1400 }), route("10.5.0.0/16", 9)];
    const overlay = { links: [...links, link(9, "flannel.1", { kind: "vxlan" })], addresses, routes };
    const options = { publicIp: "10.0.0.1", overlayDevices: ["flannel.1"] };
    expect(choose(options, overlay)).toMatchObject({ ...bound, mtuBytes: 1400 });
  });

  test("without any way out the device itself is used", () => {
    expect(choose({ publicIp: "10.0.0.1" }, { links, addresses, routes: [] })).toMatchObject({ name: "lo" });
  });

  test("the way is followed, except where the operator named the interface", () => {
    const other = { ...fabric, links: [...links, link(5, "eth1", { mtuBytes: 9000 })], routes: [defaultRoute(4, 5)] };
    const auto = { ...ipv4Only, publicIp: "10.0.0.1" };
    const first = chooseInterface(auto, fabric).interface;
    expect(followInterface(first, auto, fabric)).toEqual({ interface: first });
    expect(followInterface(first, auto, other).interface).toMatchObject({ ...bound, name: "eth1", mtuBytes: 9000 });
    const named = { ...auto, interfaces: ["eth0"] };
    const chosen = chooseInterface(named, fabric).interface;
    expect(followInterface(chosen, named, other)).toEqual({ interface: chosen });
    const unrouted = { ...fabric, routes: [] };
    expect(followInterface(first, auto, unrouted)).toEqual({ interface: first });
  });
});

describe("following the chosen interface", () => {
  const previous = choose({ interfaces: ["eth0"] });
  const follow = (changed: Partial<InterfaceFacts>, options: Partial<InterfaceOptions> = {}) =>
    followInterface(previous, { ...ipv4Only, interfaces: ["eth0"], ...options }, { ...facts, ...changed });

  test("nothing changed", () => {
    expect(follow({})).toEqual({ interface: previous });
  });

  test("keeps its address while that is there, whatever else comes", () => {
    const addresses = [address(2, "192.168.50.2/24"), ...facts.addresses];
    expect(follow({ addresses }).interface).toEqual(previous);
  });

  test("takes another address of the interface, and announces it", () => {
    const { interface: now } = follow({ addresses: [address(2, "192.168.50.77/24")] });
    expect(now).toMatchObject({ address: "192.168.50.77", publicIp: "192.168.50.77", isUp: true });
  });

  test("keeps announcing --public-ip", () => {
    const changed = { addresses: [address(2, "192.168.50.77/24")] };
    expect(follow(changed, { publicIp: "203.0.113.7" }).interface.publicIp).toBe("203.0.113.7");
  });

  test("keeps the last address while there is none", () => {
    expect(follow({ addresses: [] })).toEqual({
      interface: { ...previous, isUp: false },
      reason: "interface eth0 lost its address",
    });
  });

  test("a device of the same name with another index and MTU", () => {
    const remade = { links: [link(9, "eth0", { mtuBytes: 1400 })], addresses: [address(9, "192.168.50.11/24")] };
    expect(follow(remade).interface).toMatchObject({ index: 9, mtuBytes: 1400, address: "192.168.50.11" });
  });

  test("gone and down", () => {
    expect(follow({ links: [] })).toEqual({
      interface: { ...previous, isUp: false },
      reason: "interface eth0 no longer exists",
    });
    const down = { links: [link(2, "eth0", { isUp: false })] };
    expect(follow(down).reason).toBe("interface eth0 is down");
    // IPv6 addresses go with it; the cause is named, not the effect.
    expect(follow({ ...down, addresses: [] }).reason).toBe("interface eth0 is down");
  });

  test("a renamed device is the same one", () => {
    const renamed = { links: [link(2, "ens3"), link(3, "dummy0")] };
    expect(follow(renamed)).toEqual({ interface: { ...previous, name: "ens3" } });
  });

  test("an address that moves to a bridge over the interface takes the choice along, and back", () => {
    const links = [...facts.links, link(7, "br0", { mtuBytes: 1400, kind: "bridge" })];
    const between = follow({ links, addresses: facts.addresses.filter(({ index }) => index !== 2) });
    expect(between.interface).toEqual({ ...previous, isUp: false });
    const moved = follow({ links, addresses: [address(7, "192.168.50.11/24")] });
    expect(moved.interface).toMatchObject({
      name: "br0",
      index: 7,
      mtuBytes: 1400,
      address: "192.168.50.11",
      isUp: true,
    });
    expect(followInterface(moved.interface, ipv4Only, facts)).toEqual({ interface: previous });
  });

  test("an address found on two devices leaves the choice where it is", () => {
    expect(follow({ addresses: [address(3, "192.168.50.11/24"), ...facts.addresses] })).toEqual({
      interface: previous,
    });
  });

  test("a floating address does not stand in for the one that is lost", () => {
    const followed = follow({ addresses: [address(2, "192.168.50.100/32")] });
    expect(followed.interface).toEqual({ ...previous, isUp: false });
    expect(followed.reason).toBe(
      "interface eth0 lost its address; 192.168.50.100 may be a floating address and is not announced instead",
    );
    const narrow = chooseInterface(ipv4Only, { ...facts, addresses: [address(2, "203.0.113.7/32")] }).interface;
    const next = { ...facts, addresses: [address(2, "203.0.113.9/32")] };
    expect(followInterface(narrow, ipv4Only, next).interface).toMatchObject({ address: "203.0.113.9", isUp: true });
  });

  test("a deprecated address is not lost, one that another host has is", () => {
    expect(follow({ addresses: [address(2, "192.168.50.2/24"), address(2, "192.168.50.11/24", DEPRECATED)] })).toEqual({
      interface: previous,
    });
    const v6: InterfaceOptions = { ...ipv4Only, families: new Set([6]) };
    const own = chooseInterface(v6, facts).interface;
    const tentative = { ...facts, addresses: [address(2, "fd00:1::11/64", PERMANENT | 0x40)] };
    expect(followInterface(own, v6, tentative)).toEqual({ interface: own });
    const failed = { ...facts, addresses: [address(2, "fd00:1::11/64", PERMANENT | 0x48)] };
    expect(followInterface(own, v6, failed).reason).toMatch(/fd00:1::11 failed duplicate address detection/);
  });

  test("in dual stack a lost IPv6 address stops IPv6 alone", () => {
    const both = chooseInterface(dual, facts).interface;
    const addresses = facts.addresses.filter((found) => !found.address.includes(":"));
    const followed = followInterface(both, dual, { ...facts, addresses });
    expect(followed).toEqual({ interface: both, ipv6Reason: "interface eth0 lost its address" });
    const gone = followInterface(both, dual, { ...facts, addresses: [] });
    expect(gone).toEqual({ interface: { ...both, isUp: false }, reason: "interface eth0 lost its address" });
  });
});
