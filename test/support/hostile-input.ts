// What a store may hold at its worst: lease names, lease values and configurations, mutated from good ones and made up.
import fc from "fast-check";

export interface HostileLease {
  /** Latin-1: every byte may occur. */
  readonly name: string;
  readonly value: string;
}

type Mutation = (text: string) => string;

const mutation: fc.Arbitrary<Mutation> = fc
  .record({
    kind: fc.constantFrom("delete", "insert", "replace", "double", "cut"),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    text: fc.oneof(
      fc.string({ minLength: 1, maxLength: 3, unit: "binary-ascii" }),
      fc.constantFrom("0", "-", "&", ".", "::", "/", '"', "{", "}", "null", "-1", "1e400", "255", "\u0000", "\u00ff"),
    ),
  })
  .map(({ kind, at, text: piece }) => (text: string) => {
    const index = Math.min(Math.floor(at * text.length), Math.max(text.length - 1, 0));
    const [before, after] = [text.slice(0, index), text.slice(index)];
    if (kind === "delete") return before + after.slice(1);
    if (kind === "insert") return before + piece + after;
    if (kind === "replace") return before + piece + after.slice(1);
    return kind === "double" ? before + after + after : before;
  });

function mutated(base: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .tuple(base, fc.array(mutation, { minLength: 1, maxLength: 3 }))
    .map(([text, mutations]) => mutations.reduce((current, mutate) => mutate(current), text));
}

const octet = fc.integer({ min: 0, max: 300 });
const ipv4 = fc.tuple(octet, octet, octet, octet).map((octets) => octets.join("."));

/** In 10.5.150.0 to 10.5.250.0, where the tests have no good peers. */
const goodName = fc.integer({ min: 150, max: 250 }).map((third) => `10.5.${third}.0-24`);
const name = fc.oneof(
  goodName,
  mutated(goodName),
  mutated(goodName.map((text) => `${text}&fd00:12::-64`)),
  fc.tuple(ipv4, fc.integer({ min: -1, max: 40 })).map(([address, length]) => `${address}-${length}`),
  fc.string({ minLength: 1, maxLength: 60, unit: "binary-ascii" }),
  fc.uint8Array({ minLength: 1, maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
  fc.integer({ min: 100, max: 5_000 }).map((length) => "9".repeat(length)),
);

const mac = fc
  .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 255 }))
  .map((bytes) => `02:aa:00:00:${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(":")}`);
const goodValue = fc
  .tuple(fc.integer({ min: 151, max: 250 }), mac, fc.constantFrom("vxlan", "host-gw"))
  .map(([last, vtepMac, type]) => {
    const data = { BackendType: type, BackendData: { VNI: 1, VtepMAC: vtepMac } };
    return JSON.stringify({ PublicIP: `192.168.50.${last}`, PublicIPv6: null, ...data });
  });
const anything = fc.jsonValue({ maxDepth: 5 });
const oddFields = fc
  .record(
    {
      PublicIP: fc.oneof(ipv4, anything),
      publicip: fc.oneof(ipv4, anything),
      PublicIPv6: fc.oneof(fc.constantFrom("::", "fd00::1", "::ffff:10.0.0.1", "fe80::1%eth0"), anything),
      BackendType: fc.oneof(fc.constantFrom("vxlan", "host-gw", "VXLAN", "udp"), anything),
      BackendData: fc.oneof(
        fc.record({ VNI: anything, VtepMAC: fc.oneof(mac, anything, fc.constantFrom("00:00:00:00:00:00", "ff:ff")) }),
        anything,
      ),
      BackendV6Data: anything,
    },
    { requiredKeys: [] },
  )
  .map((fields) => JSON.stringify(fields));
const value = fc.oneof(
  goodValue,
  mutated(goodValue),
  oddFields,
  oddFields,
  anything.map((json) => JSON.stringify(json)),
  fc.string({ maxLength: 100, unit: "binary-ascii" }),
  fc.constantFrom("", "null", "[]", "[".repeat(20_000), '{"a":'.repeat(5_000), `{"PublicIP":"${"1".repeat(70_000)}"}`),
);

const backendTypes = ["vxlan", "host-gw", "alloc", "udp", "vxlam", ""];
const oddNumber = fc.oneof(fc.integer({ min: -5, max: 70_000 }), fc.constantFrom(-1, 0, 1e9, 2 ** 53, 1.5), anything);
const oddConfig = fc
  .record(
    {
      Network: fc.oneof(fc.constantFrom("10.5.0.0/16", "10.5.0.0/33", "0.0.0.0/0", "10.5.0.0"), anything),
      SubnetLen: oddNumber,
      SubnetMin: fc.oneof(ipv4, anything),
      SubnetMax: fc.oneof(ipv4, anything),
      EnableIPv4: anything,
      EnableIPv6: fc.oneof(fc.boolean(), anything),
      IPv6Network: fc.oneof(fc.constantFrom("fd00::/48", "fd00::/129"), anything),
      Backend: fc.oneof(
        fc.record({ Type: fc.constantFrom(...backendTypes), VNI: oddNumber, Port: oddNumber, MTU: oddNumber }),
        anything,
      ),
    },
    { requiredKeys: [] },
  )
  .map((config) => JSON.stringify(config));

function sample<T>(arbitrary: fc.Arbitrary<T>, numRuns: number, seed: number): readonly T[] {
  return fc.sample(arbitrary, { numRuns, seed });
}

/** The same for the same seed. */
export function hostileLeases(count: number, seed: number): readonly HostileLease[] {
  return sample(fc.record({ name, value }), count, seed);
}

/** `good` with its parts mutated, and configurations made of odd values. */
export function hostileConfigs(good: string, count: number, seed: number): readonly string[] {
  const live = fc
    .record({ MTU: oddNumber, Learning: fc.boolean(), DirectRouting: fc.boolean() }, { requiredKeys: [] })
    .map((backend) => JSON.stringify({ ...JSON.parse(good), Backend: { Type: "vxlan", ...backend } }));
  return sample(fc.oneof(mutated(fc.constant(good)), oddConfig, live, live), count, seed);
}
