// What rules of nf_tables do to a packet that stands for many, against trying each of these by itself; and that no bytes and no
// text are an error.
import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { type Address, addressFromBigInt, addressToBigInt, parsePrefix } from "../ip/address.ts";
import { messagesIn } from "../netlink/message-frames.ts";
import type { Expression } from "../netlink/nftables/expressions.ts";
import { decodeChain, decodeElements, decodeRule, decodeSet } from "../netlink/nftables/objects.ts";
import { AddressSet } from "./address-set.ts";
import { tableFamily } from "./hook-chain.ts";
import type { TestPacket } from "./hook-packets.ts";
import { readSavedRules, readSpec } from "./legacy-rules.ts";
import { loadSet } from "./loaded-set.ts";
import { PacketView } from "./packet-view.ts";
import { RuleMachine } from "./rule-machine.ts";

const here = parsePrefix("10.5.1.0/28");
const there = parsePrefix("10.5.2.0/28");
const common = {
  ...{ family: 4, protocol: "udp", destinationPort: 8472, state: "new" },
  ...{ incoming: "flannel.1", outgoing: "cni0", sourceType: "unicast", destinationType: "unicast" },
} as const satisfies Partial<TestPacket>;
const many: TestPacket = {
  ...common,
  source: AddressSet.ofPrefix(there),
  destination: AddressSet.ofPrefix(here),
};
const options = { isTracked: true, deviceIndex: () => undefined } as const;

function addresses(prefix: string): Address[] {
  const first = addressToBigInt(prefix.split("/")[0] as Address);
  return Array.from({ length: 16 }, (_, offset) => addressFromBigInt(first + BigInt(offset), 4));
}

const views = addresses(there).flatMap((source) =>
  addresses(here).map((destination) => {
    const packet: TestPacket = {
      ...common,
      source: AddressSet.ofAddresses(4, [source]),
      destination: AddressSet.ofAddresses(4, [destination]),
    };
    return { source, destination, view: new PacketView(packet, options) };
  }),
);
const all = new PacketView(many, options);
const noSets = () => undefined;

const prefix = (base: string) =>
  fc.tuple(fc.nat(15), fc.integer({ min: 20, max: 32 })).map(([host, length]) => `${base}${host}/${length}`);
const negation = fc.constantFrom("", "! ");
const condition = fc.oneof(
  fc.tuple(negation, prefix("10.5.2.")).map(([not, value]) => `${not}-s ${value}`),
  fc.tuple(negation, prefix("10.5.1.")).map(([not, value]) => `${not}-d ${value}`),
  fc.tuple(negation, fc.constantFrom("flannel.1", "flannel+", "eth0", "+")).map(([not, value]) => `${not}-i ${value}`),
  fc.tuple(negation, fc.constantFrom("udp", "tcp", "17")).map(([not, value]) => `${not}-p ${value}`),
  fc
    .tuple(negation, fc.constantFrom("8472", "53,8472", "8000:9000", "1:80"))
    .map(([not, value]) => `${not}--dports ${value}`),
  fc
    .tuple(negation, fc.constantFrom("NEW", "INVALID,NEW", "ESTABLISHED"))
    .map(([not, value]) => `${not}--ctstate ${value}`),
);

test("the share of a packet that stands for many is that of those that match", () => {
  const machine = new RuleMachine();
  fc.assert(
    fc.property(
      fc.uniqueArray(condition, { maxLength: 4, selector: (text) => text.replace("! ", "").slice(0, 3) }),
      (parts) => {
        const { expressions } = readSpec([...parts, "-j DROP"].join(" "), "ip", "1");
        const matching = views.filter(({ view }) => machine.run(expressions, view, 0, noSets).share === 1);
        const result = machine.run(expressions, all, 0, noSets);
        expect(result.share).toBeCloseTo(matching.length / views.length);
        expect(result.share === 1).toBe(matching.length === views.length);
        expect(result.share === 0).toBe(matching.length === 0);
        const [outcome] = result.outcomes;
        if (outcome?.limit === undefined || outcome.limit === "several") return;
        const { side, range } = outcome.limit;
        const meant = (address: Address) =>
          range[0] <= addressToBigInt(address) && addressToBigInt(address) <= range[1];
        expect(matching).toEqual(views.filter((each) => meant(each[side])));
      },
    ),
    propertyRuns(2_000),
  );
});

test("sets of intervals hold what lies between begin and end", () => {
  const element = fc.record({ key: fc.nat(30).map((byte) => Uint8Array.of(10, 5, 1, byte)), isEnd: fc.boolean() });
  const lookup: Expression[] = [
    { type: "payload", register: 0, base: 1, offset: 16, length: 4 },
    { type: "lookup", register: 0, set: "s", isNegated: false, givesVerdict: false },
  ];
  const machine = new RuleMachine();
  fc.assert(
    fc.property(fc.uniqueArray(element, { selector: ({ key, isEnd }) => `${key[3]} ${isEnd}` }), (elements) => {
      const full = elements.map((each) => ({ ...each, isCatchAll: false, isConditional: false }));
      const set = loadSet({ flags: 4, keyLength: 4 }, full);
      // The last mark at or below an address tells whether it lies in an interval; a begin outweighs an end at the same place.
      const isIn = (address: Address) => {
        const byte = Number(addressToBigInt(address) & 0xffn);
        const marks = elements.filter(({ key }) => (key[3] ?? 0) <= byte);
        const last = Math.max(...marks.map(({ key }) => key[3] ?? 0));
        return marks.some(({ key, isEnd }) => key[3] === last && !isEnd);
      };
      const inside = addresses(here).filter(isIn);
      expect(machine.run(lookup, all, 0, () => set).share).toBeCloseTo(inside.length / 16);
    }),
    propertyRuns(5_000),
  );
});

test("no bytes of the kernel are an error", () => {
  const attribute: fc.Memo<Uint8Array> = fc.memo((depth) => {
    const body =
      depth <= 1
        ? fc.oneof(
            fc.uint8Array({ maxLength: 40 }),
            fc
              .constantFrom(
                ..."payload meta cmp bitwise lookup match target immediate range fib ct conntrack udp tcp multiport addrtype mark MARK".split(
                  " ",
                ),
              )
              .map((text) => new TextEncoder().encode(`${text}\0`)),
            fc.nat(8).map((value) => Uint8Array.of(0, 0, 0, value)),
          )
        : fc
            .array(attribute(depth - 1), { maxLength: 4 })
            .map((parts) => Uint8Array.from(parts.flatMap((part) => [...part])));
    return fc.tuple(fc.integer({ min: 1, max: 11 }), body).map(([type, payload]) => {
      const bytes = new Uint8Array((4 + payload.length + 3) & ~3);
      new DataView(bytes.buffer).setUint16(0, 4 + payload.length, true);
      new DataView(bytes.buffer).setUint16(2, type, true);
      bytes.set(payload, 4);
      return bytes;
    });
  });
  const machine = new RuleMachine();
  fc.assert(
    fc.property(fc.array(attribute(5), { maxLength: 4 }), (attributes) => {
      const payload = attributes.flatMap((part) => [...part]);
      const bytes = Uint8Array.from([...new Uint8Array(16), 2, 0, 0, 0, ...payload]);
      const view = new DataView(bytes.buffer);
      view.setUint32(0, bytes.length, true);
      for (const frame of messagesIn(view, bytes.length)) {
        const chain = decodeChain(view, frame);
        if (chain !== undefined) tableFamily(chain.family);
        const set = loadSet(decodeSet(view, frame), decodeElements(view, frame));
        const rule = decodeRule(view, frame, () => true);
        if (rule !== undefined) machine.run(rule.expressions, all, 0, () => set);
      }
    }),
    propertyRuns(20_000),
  );
});

test("no text of iptables-save is an error", async () => {
  const part = fc.constantFrom(
    ...["*filter", "*raw", ":FORWARD DROP [0:0]", ":F - [0:0]", "-A FORWARD ", "-A F ", "-s 10.5.0.0/16 ", "-d ", "! "],
    ...[
      "-i eth+ ",
      '-m comment --comment "a \\" b" ',
      "-j F",
      "-j DROP",
      "-g FORWARD",
      "--dport 8472 ",
      "--dports 1:2,,x ",
      "\n",
    ],
    ...["-p udp ", "-j MARK --set-xmark 0x1/0x2", "--mark 0x ", "--src-type LOCAL,X ", "--ctstate constructor "],
  );
  const machine = new RuleMachine();
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(part, fc.string({ maxLength: 5 })), { maxLength: 40 }), async (parts) => {
      const saved = await readSavedRules(parts.join(""), 4, false, () => Promise.resolve());
      for (const specs of saved.rules.values()) {
        for (const spec of specs) machine.run(readSpec(spec, "ip", "1").expressions, all, undefined, noSets);
      }
    }),
    propertyRuns(10_000),
  );
});
