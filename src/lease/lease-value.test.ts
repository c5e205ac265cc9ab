import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { parseAddress } from "../ip/address.ts";
import type { LeaseAttributes } from "./lease.ts";
import { formatLeaseValue, parseLeaseValue } from "./lease-value.ts";

const vxlan = `{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}`;

describe("writing", () => {
  test.each<[string, LeaseAttributes]>([
    ['{"PublicIP":"1.2.3.4","PublicIPv6":null}', { publicIp: parseAddress("1.2.3.4") }],
    ['{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}', { publicIpv6: parseAddress("2001:db8::1") }],
    [
      '{"PublicIP":"1.2.3.4","PublicIPv6":"fd00::1","BackendType":"host-gw"}',
      { backendType: "host-gw", publicIpv6: parseAddress("fd00::1"), publicIp: parseAddress("1.2.3.4") },
    ],
    [
      vxlan,
      {
        backendData: { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:44" },
        backendType: "vxlan",
        publicIp: parseAddress("192.168.64.3"),
      },
    ],
    [
      '{"PublicIP":"0.0.0.0","PublicIPv6":null,"BackendV6Data":"x"}',
      { backendType: "", backendData: null, backendV6Data: "x" },
    ],
  ])("%s", (text, attributes) => {
    expect(formatLeaseValue(attributes)).toBe(text);
  });
});

describe("reading", () => {
  test("what upstream v0.7 and v0.28 write", () => {
    const data = { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:44" };
    expect(parseLeaseValue(vxlan)).toEqual({ publicIp: "192.168.64.3", backendType: "vxlan", backendData: data });
    expect(parseLeaseValue('{"PublicIP":"1.2.3.4"}')).toEqual({ publicIp: "1.2.3.4" });
  });

  test("keys in any case, unknown ones ignored, the last of several counts", () => {
    const text =
      '{"publicip":"1.1.1.1","PUBLICIPV6":"FD00:0::1","extra":{"a":[1]},"backendTYPE":"x","publicIP":"2.2.2.2"}';
    expect(parseLeaseValue(text)).toEqual({ publicIp: "2.2.2.2", publicIpv6: "fd00::1", backendType: "x" });
  });

  test("a missing or zero address is none", () => {
    expect(parseLeaseValue("{}")).toEqual({});
    expect(parseLeaseValue('{"PublicIP":"0.0.0.0","PublicIPv6":"::","BackendType":null,"BackendData":null}')).toEqual(
      {},
    );
  });

  test.each([
    ["", /not JSON/],
    ["{", /not JSON/],
    ["null", /not a JSON object/],
    ["[]", /not a JSON object/],
    ['"10.0.0.1"', /not a JSON object/],
    ['{"PublicIP":null}', /PublicIP is not an IPv4/],
    ['{"PublicIP":"fd00::1"}', /PublicIP is not an IPv4/],
    ['{"PublicIP":"01.2.3.4"}', /PublicIP is not an IPv4/],
    ['{"PublicIP":16909060}', /PublicIP is not an IPv4/],
    ['{"PublicIPv6":"1.2.3.4"}', /PublicIPv6 is not an IPv6/],
    ['{"BackendType":1}', /BackendType is not a string/],
    ['{"BackendData":{"a":{"__proto__":{"isAdmin":true}}}}', /__proto__/],
    [`{"BackendData":${"[".repeat(1_000)}${"]".repeat(1_000)}}`, /deeper/],
    [`{"x":${"[".repeat(100_000)}`, /longer/],
  ])("%s is unreadable", (text, reason) => {
    expect(() => parseLeaseValue(text)).toThrow(reason);
    expect(() => parseLeaseValue(text)).toThrow(RangeError);
  });

  test("nobody's prototype changes", () => {
    const attributes = parseLeaseValue('{"__proto__":{"publicIp":"6.6.6.6"},"constructor":1,"PublicIP":"1.2.3.4"}');
    expect(attributes).toEqual({ publicIp: "1.2.3.4" });
    expect(Object.getPrototypeOf(attributes)).toBe(Object.prototype);
    expect("isAdmin" in {}).toBe(false);
  });
});

const names = [
  "PublicIP",
  "publicip",
  "PublicIPv6",
  "BackendType",
  "BackendData",
  "BackendV6Data",
  "__proto__",
  "toString",
];
const values = fc.oneof(fc.ipV4(), fc.ipV6(), fc.jsonValue({ maxDepth: 3 }), fc.constant("0.0.0.0"), fc.constant(null));
const nearValue = fc.oneof(
  fc
    .array(fc.tuple(fc.constantFrom(...names), values), { maxLength: 6 })
    .map(
      (entries) => `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`,
    ),
  fc.string({ unit: fc.constantFrom(...'{}[]":,null0.PublicI\\u'), maxLength: 40 }),
  fc.string({ unit: "binary" }),
);

test("gives attributes or a RangeError for any text; attributes are written and read back the same", () => {
  let readable = 0;
  const runs = propertyRuns(100_000);
  fc.assert(
    fc.property(nearValue, (text) => {
      let attributes: LeaseAttributes;
      try {
        attributes = parseLeaseValue(text);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
        return;
      }
      readable++;
      const { publicIp, publicIpv6 } = attributes;
      if (publicIp !== undefined) expect(ipaddr.IPv4.isValidFourPartDecimal(publicIp)).toBe(true);
      if (publicIpv6 !== undefined) expect(ipaddr.IPv6.isValid(publicIpv6)).toBe(true);
      expect(parseLeaseValue(formatLeaseValue(attributes))).toEqual(attributes);
    }),
    runs,
  );
  expect(readable).toBeGreaterThan(runs.numRuns / 20);
});
