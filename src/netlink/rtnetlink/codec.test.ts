// Replies of the kernel: hand-written bytes, what we encode read back, and hostile input.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import {
  type Address,
  addressFromBytes,
  familyOf,
  makePrefix,
  type Prefix,
  parseAddress,
  parsePrefix,
  prefixLength,
} from "../../ip/address.ts";
import { networkOf } from "../../ip/prefix.ts";
import { type Acknowledgement, decodeAcknowledgement, type MessageFrame, messagesIn } from "../message-frames.ts";
import { MessageWriter } from "../message-writer.ts";
import type { NetlinkRequest } from "../request.ts";
import { addAddress } from "./address.ts";
import { objectCodecs } from "./codec.ts";
import { createIp6tnl, createIpip } from "./ipip.ts";
import { changeLink } from "./link.ts";
import type { ObjectKind, ObjectKinds } from "./messages.ts";
import { setFdbEntry, setNeighbour } from "./neighbour.ts";
import { writeNextHop } from "./next-hop.ts";
import { writeRoute } from "./route.ts";
import { addRule } from "./rule.ts";
import { createVxlan } from "./vxlan.ts";

const kinds = Object.keys(objectCodecs) as readonly ObjectKind[];

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function fromHex(...parts: readonly string[]): DataView {
  const bytes = Buffer.from(parts.join("").replaceAll(" ", ""), "hex");
  return viewOf(Uint8Array.from(bytes));
}

function decode<K extends ObjectKind>(kind: K, view: DataView): ObjectKinds[K] | undefined {
  return objectCodecs[kind].decode(view, 0, view.byteLength);
}

/** What our own request says, read as if the kernel had sent it. */
function readBack<K extends ObjectKind>(kind: K, request: NetlinkRequest): ObjectKinds[K] | undefined {
  const writer = new MessageWriter();
  request.encode(writer);
  const view = viewOf(writer.written);
  const frames = [...messagesIn(view, view.byteLength)];
  expect(frames).toHaveLength(1);
  const frame = frames[0] as MessageFrame;
  expect(frame.end).toBe(view.byteLength);
  return objectCodecs[kind].decode(view, frame.start, frame.end);
}

const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map(addressFromBytes);
const v6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(addressFromBytes);
const address = fc.oneof(v4, v6);
const outer = v6.filter((each) => each !== "::");
const u32 = fc.nat(0x7fffffff);
const mac = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(":"));
const device = fc.record({ index: fc.integer({ min: 1, max: 0x7fffffff }), name: fc.constant("flannel.1") });
const network = fc
  .tuple(address, fc.nat(128))
  .map(([ip, length]) => networkOf(makePrefix(ip, familyOf(ip) === 4 ? length % 33 : length)));

describe("what we encode reads back", () => {
  test("ipip devices, as upstream makes them, and ip6tnl devices", () => {
    const local = parseAddress("192.0.2.1");
    const settings = { ttl: 0, tos: 0, isPmtuDiscovered: false, protocol: 0, isEncapsulated: false, isExternal: false };
    const made = readBack("link", createIpip({ name: "flannel.ipip", mtuBytes: 1480, local }));
    expect(made).toMatchObject({ name: "flannel.ipip", kind: "ipip", mtuBytes: 1480 });
    expect(made?.ipip).toEqual({ ...settings, local });
    const made6 = readBack("link", createIp6tnl({ name: "flannel.ip6tnl", mtuBytes: 1460 }));
    expect(made6).toMatchObject({ name: "flannel.ip6tnl", kind: "ip6tnl", mtuBytes: 1460 });
    expect(made6?.ipip).toEqual({ ...settings, protocol: 41, isExternal: true });
  });

  test("vxlan devices", () => {
    const spec = fc.record({
      name: fc.stringMatching(/^[a-z0-9.-]{1,15}$/),
      mac,
      mtuBytes: u32,
      vni: fc.nat(0xffffff),
      port: fc.nat(0xffff),
      local: address,
      underlayIndex: fc.integer({ min: 1, max: 0x7fffffff }),
      learning: fc.boolean(),
      gbp: fc.boolean(),
    });
    fc.assert(
      fc.property(spec, ({ name, mac: lladdr, mtuBytes, underlayIndex, ...vxlan }) => {
        expect(readBack("link", createVxlan({ name, mac: lladdr, mtuBytes, underlayIndex, ...vxlan }))).toEqual({
          index: 0,
          name,
          kind: "vxlan",
          mtuBytes,
          mac: lladdr,
          isUp: false,
          isRunning: false,
          isLoopback: false,
          vxlan: { ...vxlan, linkIndex: underlayIndex, l2miss: false, l3miss: false },
        });
      }),
      propertyRuns(1_000),
    );
  });

  test("addresses", () => {
    fc.assert(
      fc.property(device, address, fc.nat(128), (dev, ip, length) => {
        const prefix = makePrefix(ip, familyOf(ip) === 4 ? length % 33 : length);
        expect(readBack("address", addAddress(dev, prefix))).toEqual({
          index: dev.index,
          address: prefix,
          scope: 0,
          flags: familyOf(ip) === 6 ? 2 : 0, // IFA_F_NODAD
        });
      }),
      propertyRuns(1_000),
    );
  });

  test("routes", () => {
    const optional = fc.record(
      {
        device,
        gateway: address,
        preferredSource: address,
        nextHopId: u32,
        metric: u32,
        table: fc.integer({ min: 1, max: 0x7fffffff }),
        onLink: fc.boolean(),
        protocol: fc.nat(255),
        scope: fc.nat(255),
        type: fc.nat(255),
        encapsulation: fc.record({ source: outer, destination: outer }),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(network, optional, (destination, { device: dev, encapsulation, ...route }) => {
        const further = { ...(dev && { device: dev }), ...(encapsulation && { encapsulation }) };
        expect(readBack("route", writeRoute("set", { destination, ...route, ...further }))).toEqual({
          table: 254,
          protocol: 3,
          scope: 0,
          type: 1,
          metric: 0,
          onLink: false,
          ...route,
          ...(dev === undefined ? {} : { outIndex: dev.index }),
          ...(encapsulation && {
            encapsulation: `ip6 src ${encapsulation.source} dst ${encapsulation.destination}`,
          }),
          family: familyOf(destination),
          destination,
          tos: 0,
          isMultipath: false,
        });
      }),
      propertyRuns(1_000),
    );
  });

  test("neighbours, forwarding entries and next hops", () => {
    fc.assert(
      fc.property(device, address, mac, u32, fc.boolean(), (dev, ip, lladdr, id, onLink) => {
        const { index } = dev;
        const state = 0x80;
        expect(readBack("neighbour", setNeighbour(dev, ip, lladdr))).toEqual({
          family: familyOf(ip),
          index,
          address: ip,
          mac: lladdr,
          state,
        });
        expect(readBack("fdb", setFdbEntry(dev, lladdr, ip))).toEqual({
          index,
          mac: lladdr,
          destination: ip,
          state,
          flags: 2,
        });
        expect(
          readBack("nextHop", writeNextHop("set", { id, device: dev, gateway: ip, onLink, protocol: 0xf1 })),
        ).toEqual({ id, family: familyOf(ip), protocol: 0xf1, outIndex: index, gateway: ip, onLink, isGroup: false });
      }),
      propertyRuns(1_000),
    );
  });

  test("rules", () => {
    const spec = fc
      .record(
        {
          priority: u32,
          table: fc.integer({ min: 1, max: 0x7fffffff }),
          protocol: fc.nat(255),
          fwmark: u32,
          incomingDevice: fc.stringMatching(/^[a-z0-9.-]{1,15}$/),
          outgoingDevice: fc.stringMatching(/^[a-z0-9.-]{1,15}$/),
          suppressPrefixLength: fc.nat(128),
          prefixes: fc.array(network, { minLength: 1, maxLength: 2 }),
        },
        { requiredKeys: ["priority", "table", "protocol", "prefixes"] },
      )
      .map(({ prefixes: [to, from], ...rest }) => {
        const family = familyOf(to as Prefix);
        const selectors = {
          ...(prefixLength(to as Prefix) > 0 ? { to: to as Prefix } : {}),
          ...(from !== undefined && familyOf(from) === family && prefixLength(from) > 0 ? { from } : {}),
        };
        return { family, ...rest, ...selectors };
      });
    fc.assert(
      fc.property(spec, fc.boolean(), (rule, isInverted) => {
        expect(readBack("rule", addRule({ ...rule, isInverted }))).toEqual({
          ...rule,
          ...(rule.fwmark === undefined ? {} : { fwmask: 0xffffffff }),
          action: 1,
          isInverted,
          isL3mdev: false,
          hasOtherSelectors: false,
        });
      }),
      propertyRuns(1_000),
    );
  });
});

describe("replies only the kernel sends", () => {
  /** RTM_NEWRULE without its header. */
  const rule = (header: string, ...attributes: readonly string[]) => decode("rule", fromHex(header, ...attributes));

  test("a rule without table, with selectors that are not read", () => {
    expect(rule("02000010 00000007 00000000", "08000600 66000000", "05001600 06000000", "0800 0e00 ffffffff")).toEqual({
      family: 4,
      priority: 102,
      action: 7,
      table: 0,
      protocol: 0,
      isInverted: false,
      isL3mdev: false,
      hasOtherSelectors: true,
    });
  });

  test("a mask without mark, and a VRF's table", () => {
    expect(rule("0a000000 00000001 00000000", "08001000 ff000000")).toMatchObject({ fwmark: 0, fwmask: 255 });
    expect(rule("0a000000 00000001 00000000", "05001300 01000000")).toMatchObject({ isL3mdev: true });
  });

  test("a selector that cannot be read is no selector for everything", () => {
    expect(rule("02100000 00000001 00000000")).toBeUndefined();
    expect(rule("02001000 00000001 00000000", "14000200 00000000000000000000000000000000")).toBeUndefined();
    expect(rule("02210000 00000001 00000000", "08000100 0a050000")).toBeUndefined();
  });

  test("a link: flags, no MAC on a device of another address length, attributes we do not know", () => {
    const header = "00000803 05000000 49000000 00000000"; // up, loopback, running
    expect(decode("link", fromHex(header, "07000300 6c6f00 00", "08000400 00000100", "0500fe00 01 000000"))).toEqual({
      index: 5,
      name: "lo",
      mtuBytes: 65536,
      isUp: true,
      isRunning: true,
      isLoopback: true,
    });
    expect(decode("link", fromHex(header, "07000300 6c6f00 00", "08000100 7f000001"))).not.toHaveProperty("mac");
  });

  test("a bridge port that leaves its bridge is not a deleted link", () => {
    expect(decode("link", fromHex("07000000 05000000 00000000 00000000", "07000300 6c6f00 00"))).toBeUndefined();
  });

  test("a change of up or MTU alone is no readable link: it has no name", () => {
    expect(readBack("link", changeLink({ index: 3, name: "eth0" }, { isUp: true, mtuBytes: 1400 }))).toBeUndefined();
  });

  test("an address: the local end of a point-to-point link, flags beyond eight bits", () => {
    expect(
      decode("address", fromHex("02208000 05000000", "08000100 0a000002", "08000200 0a000001", "08000800 80020000")),
    ).toEqual({ index: 5, address: "10.0.0.1/32", scope: 0, flags: 0x280 });
  });

  test("routes: default without destination, multipath, IPv6 gateway of an IPv4 route, table beyond 255", () => {
    expect(
      decode("route", fromHex("02000000 fe030001 00000000", "08000500 c0a83201", "08000400 02000000")),
    ).toMatchObject({
      destination: "0.0.0.0/0",
      gateway: "192.168.50.1",
      outIndex: 2,
    });
    expect(decode("route", fromHex("0a000000 fe030001 00000000"))).toMatchObject({ destination: "::/0", family: 6 });
    const route = "02180000 fe030001 00000000 08000100 0a050200";
    expect(decode("route", fromHex(route, "0c000900 08000000 02000000"))).toMatchObject({ isMultipath: true });
    const [hop2, hop3] = ["10000000 02000000 08000500 c0a83201", "10001004 03000000 08000500 c0a83301"];
    expect(decode("route", fromHex(route, "24000900", hop2, hop3))?.nextHops).toEqual([
      { outIndex: 2, gateway: "192.168.50.1", isUsable: true },
      { outIndex: 3, gateway: "192.168.51.1", isUsable: false },
    ]);
    const via = decode("route", fromHex(route, "16001200 0a00 fe800000 00000000 00000000 00000001 0000"));
    expect(via?.gateway).toBe("fe80::1");
    expect(decode("route", fromHex(route, "08000f00 e8030000"))?.table).toBe(1000);
  });

  test("a neighbour without MAC; forwarding entries of bridges and multicast filters are not ours to read", () => {
    expect(decode("neighbour", fromHex("02000000 07000000 20000001", "08000100 0a050200"))).toEqual({
      family: 4,
      index: 7,
      address: "10.5.2.0",
      state: 0x20,
    });
    const lladdr = "0a000200 0a1b2c3d4e5f 0000";
    expect(decode("fdb", fromHex("07000000 07000000 80000400", lladdr, "08000100 0a050200"))).toBeUndefined();
    expect(decode("fdb", fromHex("07000000 07000000 80000200", lladdr))).toBeUndefined();
    expect(decode("neighbour", fromHex("07000000 07000000 80000200", lladdr, "08000100 0a050200"))).toBeUndefined();
  });

  test("a group of next hops", () => {
    expect(decode("nextHop", fromHex("0000f100 00000000", "08000100 05000000", "0c000200 01000000 00000000"))).toEqual({
      id: 5,
      family: 4,
      protocol: 0xf1,
      onLink: false,
      isGroup: true,
      memberIds: [1],
    });
  });
});

describe("acknowledgements", () => {
  const request = "34000000 18000500 07000000 00000000";

  function acknowledgement(header: string, ...parts: readonly string[]): Acknowledgement {
    const view = fromHex(header, ...parts);
    const frame = [...messagesIn(view, view.byteLength)][0] as MessageFrame;
    return decodeAcknowledgement(view, frame);
  }

  test("success, a plain error, an error with the kernel's words", () => {
    expect(acknowledgement("24000000 02000001 07000000 00000000", "00000000", request)).toEqual({ errno: 0 });
    expect(acknowledgement("24000000 02000001 07000000 00000000", "efffffff", request)).toEqual({ errno: 17 });
    const words = { errno: 101, kernelText: "Next", offset: 44 };
    const attributes = "09000100 4e657874 00 000000 08000200 2c000000";
    expect(acknowledgement("38000000 02000003 07000000 00000000", "9bffffff", request, attributes)).toEqual(words);
    // A kernel that does not cap echoes the whole request, here with one attribute, before its words.
    const echoed = "18000000 18000500 07000000 00000000 08000100 0a050200";
    expect(acknowledgement("40000000 02000002 07000000 00000000", "9bffffff", echoed, attributes)).toEqual(words);
  });

  test("the end of a dump, with and without an error", () => {
    expect(acknowledgement("14000000 03000200 07000000 00000000", "00000000")).toEqual({ errno: 0 });
    expect(acknowledgement("14000000 03000200 07000000 00000000", "edffffff")).toEqual({ errno: 19 });
  });

  test("a truncated one is not taken for success", () => {
    expect(acknowledgement("12000000 02000000 07000000 00000000", "0000")).toEqual({ errno: 71 });
  });
});

describe("hostile input", () => {
  const samples: readonly NetlinkRequest[] = [
    createVxlan({
      name: "flannel.1",
      mac: "0a:1b:2c:3d:4e:5f",
      mtuBytes: 1450,
      vni: 1,
      port: 8472,
      local: parseAddress("fd00::1"),
      underlayIndex: 2,
      learning: true,
      gbp: true,
    }),
    addAddress({ index: 7, name: "x" }, makePrefix("10.0.0.1" as Address, 24)),
    writeRoute("set", {
      destination: makePrefix("10.5.2.0" as Address, 24),
      gateway: "10.5.2.0" as Address,
      table: 300,
    }),
    setNeighbour({ index: 7, name: "x" }, parseAddress("fd00::2"), "0a:1b:2c:3d:4e:5f"),
    setFdbEntry({ index: 7, name: "x" }, "0a:1b:2c:3d:4e:5f", parseAddress("192.168.50.12")),
    addRule({
      ...{ family: 4, priority: 100, table: 300, protocol: 0xf1, to: parsePrefix("10.5.0.0/16"), fwmark: 1 },
      ...{ incomingDevice: "eth0", suppressPrefixLength: 0 },
    }),
    writeNextHop("set", {
      id: 5,
      device: { index: 7, name: "x" },
      gateway: parseAddress("10.5.2.0"),
      onLink: true,
      protocol: 0xf1,
    }),
  ];

  /** Decodes as everything; only crashes and endless loops can fail. */
  function decodeAll(bytes: Uint8Array): void {
    const view = viewOf(bytes);
    let count = 0;
    for (const frame of messagesIn(view, view.byteLength)) {
      count++;
      decodeAcknowledgement(view, frame);
      for (const kind of kinds) objectCodecs[kind].decode(view, frame.start, frame.end);
    }
    expect(count).toBeLessThanOrEqual(bytes.length / 16);
    for (const kind of kinds) objectCodecs[kind].decode(view, 0, view.byteLength);
  }

  test("random bytes never crash a decoder", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), decodeAll), propertyRuns(20_000));
  });

  test("damaged messages never crash a decoder", () => {
    const sample = fc.constantFrom(...samples).map((request) => {
      const writer = new MessageWriter();
      request.encode(writer);
      return writer.written.slice();
    });
    const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 8 });
    fc.assert(
      fc.property(sample, damage, fc.nat(), (bytes, changes, cut) => {
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        decodeAll(bytes);
        decodeAll(bytes.subarray(0, cut % (bytes.length + 1)));
        // The length field made right again, so that what is inside is read.
        viewOf(bytes).setUint32(0, bytes.length, true);
        decodeAll(bytes);
      }),
      propertyRuns(20_000),
    );
  });

  test("the length an echoed request claims is not believed", () => {
    for (const length of ["ffffffff", "fdffffff", "00000080", "00000000"]) {
      const view = fromHex("24000000 02000002 07000000 00000000", "9bffffff", length, "18000500 07000000 00000000");
      const frame = [...messagesIn(view, view.byteLength)][0] as MessageFrame;
      expect(decodeAcknowledgement(view, frame).errno).toBe(101);
    }
  });
});
