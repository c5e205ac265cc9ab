import { describe, expect, test } from "vitest";
import { type Address, parseAddress, parsePrefix } from "../ip/address.ts";
import type { AddressMessage, LinkMessage, RouteMessage } from "../netlink/rtnetlink/messages.ts";
import { chooseInterface, followInterface, type InterfaceFacts, type InterfaceOptions } from "./interface-choice.ts";

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

test("address preference: global, then permanent, then not temporary; deprecated and loopback never", () => {
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
  expect(() => preferred(deprecated)).toThrow(/no usable IPv6 address/);
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
});
