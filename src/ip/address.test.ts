import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import {
  type Address,
  addressFromBigInt,
  addressFromBytes,
  addressToBigInt,
  addressToBytes,
  familyOf,
  parseAddress,
  parsePrefix,
  prefixAddress,
  prefixLength,
  tryParseAddress,
  tryParsePrefix,
} from "./address.ts";
import { addToAddress, containsAddress, containsPrefix, networkOf, overlaps, prefixSize } from "./prefix.ts";

const ipv4 = fc.ipV4();
// The oracle reads ::1.2.3.4 as ::ffff:1.2.3.4, against RFC 4291 section 2.5.5.1: a table row below covers that form.
const ipv6 = fc.ipV6().filter((text) => !/^::\d+\./.test(text));

describe("addresses", () => {
  it.each([
    ["0.0.0.0", "0.0.0.0"],
    ["FD00:0:0:0::1", "fd00::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["1:0:2:0:3:0:4:0", "1:0:2:0:3:0:4:0"],
    ["::", "::"],
    ["::ffff:1.2.3.4", "::ffff:1.2.3.4"],
    ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
    ["::1.2.3.4", "::102:304"],
  ])("reads %s as %s", (text, canonical) => expect(tryParseAddress(text)).toBe(canonical));

  it.each([
    "",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "01.2.3.4",
    "256.1.1.1",
    "1.2.3.4 ",
    "fe80::1%eth0",
    ":::",
    "1::2::3",
    "20011::",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    ":1:2:3:4:5:6:7",
    "1.2.3.4::",
    "::1.2.3.4:5",
  ])("refuses %j", (text) => expect(tryParseAddress(text)).toBeUndefined());

  it("agrees with an independent implementation", () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6), (text) => {
        const address = parseAddress(text);
        const oracle = ipaddr.parse(text);
        expect([...addressToBytes(address)]).toEqual(oracle.toByteArray());
        expect(addressFromBytes(Uint8Array.from(oracle.toByteArray()))).toBe(address);
        expect(addressFromBigInt(addressToBigInt(address), familyOf(address))).toBe(address);
        if (oracle.kind() === "ipv6" && !address.includes(".")) {
          expect(address).toBe((oracle as ipaddr.IPv6).toRFC5952String());
        }
      }),
      propertyRuns(5_000),
    );
  });

  it("never throws on any text and only accepts what reads back the same", () => {
    const texts = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(..."0123456789abcdef:./") }));
    fc.assert(
      fc.property(texts, (text) => {
        const address = tryParseAddress(text);
        if (address !== undefined) expect(tryParseAddress(address)).toBe(address);
        const prefix = tryParsePrefix(text);
        if (prefix !== undefined) expect(tryParsePrefix(prefix)).toBe(prefix);
      }),
      propertyRuns(100_000),
    );
  });
});

describe("prefixes", () => {
  it.each(["10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/08", "/8"])(
    "refuses %j",
    (text) => expect(tryParsePrefix(text)).toBeUndefined(),
  );

  it("clears host bits, counts and steps", () => {
    expect(networkOf(parsePrefix("10.3.4.5/16"))).toBe("10.3.0.0/16");
    expect(networkOf(parsePrefix("fd00::1234/64"))).toBe("fd00::/64");
    expect(prefixSize(parsePrefix("10.0.0.0/24"))).toBe(256n);
    expect(addToAddress(parseAddress("10.0.0.255"), 1n)).toBe("10.0.1.0");
    expect(addToAddress(parseAddress("255.255.255.255"), 1n)).toBe("0.0.0.0");
  });

  it("contains and overlaps as an independent implementation says", () => {
    const octets = fc.constantFrom("10.0.0.0", "10.0.1.0", "10.1.0.0", "10.128.0.0", "192.0.2.1");
    const length = fc.integer({ min: 0, max: 32 });
    fc.assert(
      fc.property(octets, length, octets, length, (a, aLength, b, bLength) => {
        const [outer, inner] = [parsePrefix(`${a}/${aLength}`), parsePrefix(`${b}/${bLength}`)];
        const matches = (address: Address, net: string, bits: number) =>
          ipaddr.IPv4.parse(address).match(ipaddr.IPv4.parse(net), bits);
        expect(containsAddress(outer, prefixAddress(inner))).toBe(matches(prefixAddress(inner), a, aLength));
        expect(containsPrefix(outer, inner)).toBe(aLength <= bLength && matches(prefixAddress(inner), a, aLength));
        expect(overlaps(outer, inner)).toBe(matches(prefixAddress(inner), a, Math.min(aLength, prefixLength(inner))));
      }),
      propertyRuns(1_000),
    );
    expect(containsAddress(parsePrefix("0.0.0.0/0"), parseAddress("::1"))).toBe(false);
  });
});
