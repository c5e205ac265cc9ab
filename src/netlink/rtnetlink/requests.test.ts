// Requests byte by byte, written out by hand from the headers, and what people read of them.
import { describe, expect, test } from "vitest";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import { MessageWriter } from "../message-writer.ts";
import type { NetlinkRequest } from "../request.ts";
import { addAddress, deleteAddress } from "./address.ts";
import { changeLink, deleteLink } from "./link.ts";
import { deleteFdbEntry, deleteNeighbour, setFdbEntry, setNeighbour } from "./neighbour.ts";
import { deleteNextHop, writeNextHop } from "./next-hop.ts";
import { deleteRoute, writeRoute } from "./route.ts";
import { addRule, deleteRule, type RuleSpec, ruleText } from "./rule.ts";
import { changeVxlan, createVxlan } from "./vxlan.ts";

const device = { index: 7, name: "flannel.1" };
const gateway = parseAddress("10.5.2.0");
const gatewayV6 = parseAddress("fd00:5:0:2::");
const mac = "0a:1b:2c:3d:4e:5f";

const rule: RuleSpec = {
  family: 4,
  priority: 100,
  to: parsePrefix("10.5.0.0/16"),
  fwmark: 1,
  fwmask: 0xff,
  table: 254,
  protocol: 0xf1,
};

function hex(request: NetlinkRequest): string {
  const writer = new MessageWriter();
  request.encode(writer);
  return Buffer.from(writer.written).toString("hex");
}

/** Parts with spaces for people; the first is the header without its length, which is put before it. */
function message(typeAndFlags: string, ...parts: readonly string[]): string {
  const body = [typeAndFlags, "00000000 00000000", ...parts].join("").replaceAll(" ", "");
  const length = body.length / 2 + 4;
  return Buffer.of(length & 255, length >> 8, 0, 0).toString("hex") + body;
}

const CREATE = "0106"; // NLM_F_REQUEST | EXCL | CREATE
const SET = "0105"; // NLM_F_REQUEST | REPLACE | CREATE
const PLAIN = "0100";

const vxlanInfoKind = "0a000100 76786c616e00 0000";

describe("links", () => {
  test("a vxlan device has exactly the attributes of upstream's", () => {
    const spec = {
      name: "flannel.1",
      mac,
      mtuBytes: 1450,
      vni: 1,
      port: 0,
      local: parseAddress("192.168.50.11"),
      underlayIndex: 2,
      learning: false,
      gbp: false,
    };
    const common = [
      "00000000 00000000 00000000 00000000",
      "0e000300 666c616e6e656c2e3100 0000", // IFNAME
      "08000400 aa050000", // MTU
      "08000d00 00000000", // TXQLEN 0
      "0a000100 0a1b2c3d4e5f 0000", // ADDRESS
    ];
    const data = [
      "08000100 01000000", // ID
      "08000300 02000000", // LINK
      "08000400 c0a8320b", // LOCAL
      ...["0500", "0600", "0700", "0b00", "0c00", "0d00", "0e00", "1300", "1400"].map((t) => `0500${t} 00 000000`),
    ];
    expect(hex(createVxlan(spec))).toBe(
      message(`1000 ${CREATE}`, ...common, "74001200", vxlanInfoKind, "64000200", ...data),
    );
    // Port in network byte order and the empty GBP flag come last.
    expect(hex(createVxlan({ ...spec, port: 4789, gbp: true }))).toMatch(/06000f0012b5000004001700$/);
    expect(hex(createVxlan({ ...spec, learning: true }))).toContain("0500070001000000");
    expect(hex(createVxlan({ ...spec, local: gatewayV6 }))).toContain("14001100fd000005000000020000000000000000");
  });

  test("a change carries only what changes", () => {
    const header = (flags: string, change: string) => `00000000 07000000 ${flags} ${change}`;
    expect(hex(changeLink(device, { isUp: true }))).toBe(message(`1000 ${PLAIN}`, header("01000000", "01000000")));
    expect(hex(changeLink(device, { isUp: false }))).toBe(message(`1000 ${PLAIN}`, header("00000000", "01000000")));
    expect(hex(changeLink(device, { mtuBytes: 1400, mac }))).toBe(
      message(`1000 ${PLAIN}`, header("00000000", "00000000"), "08000400 78050000", "0a000100 0a1b2c3d4e5f 0000"),
    );
    expect(hex(changeVxlan(device, { learning: true }))).toBe(
      message(
        `1000 ${PLAIN}`,
        header("00000000", "00000000"),
        "1c001200",
        vxlanInfoKind,
        "0c000200",
        "05000700 01 000000",
      ),
    );
    expect(hex(deleteLink(device))).toBe(message(`1100 ${PLAIN}`, header("00000000", "00000000")));
  });
});

test("addresses: local and address are the same; broadcast where the network has one", () => {
  const own = ["08000200 0a050100", "08000100 0a050100"];
  expect(hex(addAddress(device, parsePrefix("10.5.1.0/32")))).toBe(
    message(`1400 ${CREATE}`, "02200000 07000000", ...own),
  );
  expect(hex(addAddress(device, parsePrefix("10.5.1.0/16")))).toBe(
    message(`1400 ${CREATE}`, "02100000 07000000", ...own, "08000400 0a05ffff"),
  );
  const ownV6 = ["14000200 fd000005 00000002 00000000 00000000", "14000100 fd000005 00000002 00000000 00000000"];
  expect(hex(addAddress(device, parsePrefix("fd00:5:0:2::/128")))).toBe(
    message(`1400 ${CREATE}`, "0a800200 07000000", ...ownV6), // IFA_F_NODAD
  );
  expect(hex(deleteAddress(device, parsePrefix("fd00:5:0:2::/128")))).toBe(
    message(`1500 ${PLAIN}`, "0a800000 07000000", ...ownV6),
  );
});

describe("routes", () => {
  const route = { destination: parsePrefix("10.5.2.0/24"), device, gateway, onLink: true };

  test("plain, as upstream writes them: table main, protocol boot, scope universe, unicast", () => {
    const body = ["02180000 fe030001 04000000", "08000100 0a050200", "08000500 0a050200", "08000400 07000000"];
    expect(hex(writeRoute("set", route))).toBe(message(`1800 ${SET}`, ...body));
    expect(hex(writeRoute("create", route))).toBe(message(`1800 ${CREATE}`, ...body));
    expect(hex(deleteRoute(route))).toBe(message(`1900 ${PLAIN}`, ...body));
  });

  test("by next hop, IPv6, with protocol and metric, in a table beyond 255", () => {
    expect(
      hex(
        writeRoute("set", {
          destination: parsePrefix("fd00:5:0:2::/64"),
          nextHopId: 300,
          protocol: 0xf1,
          metric: 5,
          table: 1000,
        }),
      ),
    ).toBe(
      message(
        `1800 ${SET}`,
        "0a400000 00f10001 00000000",
        "14000100 fd000005 00000002 00000000 00000000",
        "08001e00 2c010000",
        "08000600 05000000",
        "08000f00 e8030000",
      ),
    );
  });
});

test("neighbours and forwarding entries are permanent", () => {
  expect(hex(setNeighbour(device, gateway, mac))).toBe(
    message(`1c00 ${SET}`, "02000000 07000000 80000001", "08000100 0a050200", "0a000200 0a1b2c3d4e5f 0000"),
  );
  expect(hex(deleteNeighbour(device, gatewayV6))).toBe(
    message(`1d00 ${PLAIN}`, "0a000000 07000000 80000001", "14000100 fd000005 00000002 00000000 00000000"),
  );
  const entry = ["07000000 07000000 80000200", "0a000200 0a1b2c3d4e5f 0000", "08000100 c0a8320c"];
  expect(hex(setFdbEntry(device, mac, parseAddress("192.168.50.12")))).toBe(message(`1c00 ${SET}`, ...entry));
  expect(hex(deleteFdbEntry(device, mac, parseAddress("192.168.50.12")))).toBe(message(`1d00 ${PLAIN}`, ...entry));
});

test("next hops", () => {
  expect(hex(writeNextHop("set", { id: 300, device, gateway, onLink: true, protocol: 0xf1 }))).toBe(
    message(`6800 ${SET}`, "0200f100 04000000", "08000100 2c010000", "08000500 07000000", "08000600 0a050200"),
  );
  expect(hex(deleteNextHop(300))).toBe(message(`6900 ${PLAIN}`, "00000000 00000000", "08000100 2c010000"));
});

test("people read them as ip lines", () => {
  const destination = parsePrefix("10.5.2.0/24");
  const local = parseAddress("192.168.50.11");
  const vxlan = { name: "flannel.1", mac, mtuBytes: 1450, vni: 1, port: 0, local, underlayIndex: 2 };
  const described: readonly (readonly [NetlinkRequest, string])[] = [
    [
      createVxlan({ ...vxlan, learning: false, gbp: false }),
      "add link flannel.1 type vxlan id 1 local 192.168.50.11 dev index 2",
    ],
    [changeVxlan(device, { local, learning: true }), "set link flannel.1 type vxlan local 192.168.50.11 learning"],
    [
      changeVxlan(device, { underlayIndex: 3, learning: false }),
      "set link flannel.1 type vxlan dev index 3 nolearning",
    ],
    [changeLink(device, { isUp: true, mtuBytes: 1400, mac }), `set link flannel.1 up mtu 1400 address ${mac}`],
    [changeLink(device, { isUp: false }), "set link flannel.1 down"],
    [deleteLink(device), "delete link flannel.1"],
    [addAddress(device, parsePrefix("10.5.1.0/32")), "add address 10.5.1.0/32 dev flannel.1"],
    [deleteAddress(device, parsePrefix("10.5.1.0/32")), "delete address 10.5.1.0/32 dev flannel.1"],
    [
      writeRoute("create", { destination, device, gateway, onLink: true }),
      "add route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
    ],
    [writeRoute("set", { destination, nextHopId: 3 }), "set route 10.5.2.0/24 nhid 3"],
    [
      deleteRoute({ destination, device, metric: 5, table: 100 }),
      "delete route 10.5.2.0/24 dev flannel.1 table 100 metric 5",
    ],
    [setNeighbour(device, gateway, mac), `set neighbour 10.5.2.0 lladdr ${mac} dev flannel.1`],
    [deleteNeighbour(device, gateway), "delete neighbour 10.5.2.0 dev flannel.1"],
    [setFdbEntry(device, mac, local), `set fdb ${mac} dst 192.168.50.11 dev flannel.1`],
    [deleteFdbEntry(device, mac, local), `delete fdb ${mac} dst 192.168.50.11 dev flannel.1`],
    [
      writeNextHop("create", { id: 3, device, gateway, onLink: true, protocol: 0xf1 }),
      "add nexthop id 3 via 10.5.2.0 dev flannel.1 onlink",
    ],
    [deleteNextHop(3), "delete nexthop id 3"],
    [addRule(rule), "add rule 100: from all to 10.5.0.0/16 fwmark 0x1/0xff lookup main proto 241"],
    [
      deleteRule({
        family: 6,
        priority: 5,
        table: 300,
        protocol: 0,
        from: parsePrefix("fd00::1/128"),
        isInverted: true,
      }),
      "delete rule 5: not from fd00::1 lookup 300",
    ],
  ];
  for (const [request, text] of described) expect(request.describe()).toBe(text);
});

test("a rule", () => {
  const attributes = [
    "08000600 64000000", // PRIORITY
    "08000100 0a050000", // DST
    "08000a00 01000000 08001000 ff000000", // FWMARK, FWMASK
    "08000f00 fe000000", // TABLE
    "05001500 f1000000", // PROTOCOL
  ];
  expect(hex(addRule(rule))).toBe(message(`2000 ${CREATE}`, "02100000 fe000001 00000000", ...attributes));
  expect(hex(deleteRule(rule))).toBe(message(`2100 ${PLAIN}`, "02100000 fe000001 00000000", ...attributes));
});

test("rules of others as ip rule prints them", () => {
  const base = { family: 4, priority: 104, protocol: 2, table: 0 } as const;
  const texts = [
    ruleText({ ...base, action: 1, table: 255, priority: 0 }),
    ruleText({ ...base, action: 1, isL3mdev: true }),
    ruleText({ ...base, action: 2, gotoPriority: 32766, to: parsePrefix("10.1.0.0/16") }),
    ruleText({ ...base, action: 3 }),
    ruleText({ ...base, action: 6, fwmark: 0, fwmask: 0xff }),
    ruleText({ ...base, action: 7, hasOtherSelectors: true }),
    ruleText({ ...base, action: 8, from: parsePrefix("1.2.3.4/32") }),
  ];
  expect(texts).toEqual([
    "0: from all lookup local",
    "104: from all lookup [l3mdev-table]",
    "104: from all to 10.1.0.0/16 goto 32766",
    "104: from all nop",
    "104: from all fwmark 0/0xff blackhole",
    "104: from all ... unreachable",
    "104: from 1.2.3.4 prohibit",
  ]);
});

test("what is not a MAC address is refused", () => {
  for (const bad of ["", "0a:1b:2c:3d:4e", "0a:1b:2c:3d:4e:5g", "0a1b2c3d4e5f", `${mac}:00`]) {
    expect(() => hex(setNeighbour(device, gateway, bad))).toThrow("is not a MAC address");
  }
});
