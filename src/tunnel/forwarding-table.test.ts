// The forwarding table against a linear scan.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import { containsAddress } from "../ip/prefix.ts";
import { ForwardingTable, NO_PEER } from "./forwarding-table.ts";
import type { TunnelState } from "./tunnel-state.ts";

describe("forwarding table", () => {
  const address4 = fc.tuple(fc.constant(10), fc.nat(3), fc.nat(255), fc.nat(255)).map((parts) => parts.join("."));
  const address6 = fc
    .tuple(fc.nat(3), fc.nat(0xffff), fc.nat(3))
    .map(([a, b, c]) => `fd00:${a}:${b.toString(16)}::${c}`);

  function tableOf(prefixes: readonly string[]): { table: ForwardingTable; state: TunnelState } {
    const peers = prefixes.map((text, index) => {
      const subnet = parsePrefix(text);
      const isV6 = text.includes(":");
      const publicIp = parseAddress(isV6 ? `2001:db8::${index + 1}` : `192.0.2.${index + 1}`);
      return isV6 ? { key: text, ipv6Subnet: subnet, publicIpv6: publicIp } : { key: text, subnet, publicIp };
    });
    const state = { device: "t", port: 8285, own: {}, peers, checkSource: true, offload: true };
    return { table: ForwardingTable.build(state, () => 0), state };
  }

  /** The longest prefix that contains the address; of equals the first. */
  function scan(prefixes: readonly string[], address: string): number {
    let best = NO_PEER;
    let bestLength = -1;
    for (const [index, text] of prefixes.entries()) {
      const length = Number(text.split("/")[1]);
      const normal = parsePrefix(text);
      if (length > bestLength && containsAddress(normal, parseAddress(address))) [best, bestLength] = [index, length];
    }
    return best;
  }

  it("finds what a linear scan finds, IPv4", () => {
    const prefixes = fc.array(fc.tuple(address4, fc.integer({ min: 0, max: 32 })), { maxLength: 100 });
    fc.assert(
      fc.property(prefixes, fc.array(address4, { minLength: 1, maxLength: 20 }), (pairs, addresses) => {
        const texts = pairs.map(([address, length]) => `${address}/${length}`);
        const { table } = tableOf(texts);
        for (const address of [...addresses, ...pairs.map(([known]) => known)]) {
          const word = address.split(".").reduce((value, part) => (value << 8) | Number(part), 0);
          expect(table.lookUp4(word)).toBe(scan(texts, address));
        }
      }),
      propertyRuns(300),
    );
  });

  it("finds what a linear scan finds, IPv6", () => {
    const prefixes = fc.array(fc.tuple(address6, fc.integer({ min: 0, max: 128 })), { maxLength: 60 });
    fc.assert(
      fc.property(prefixes, fc.array(address6, { minLength: 1, maxLength: 20 }), (pairs, addresses) => {
        const texts = pairs.map(([address, length]) => `${address}/${length}`);
        const { table } = tableOf(texts);
        for (const address of [...addresses, ...pairs.map(([known]) => known)]) {
          const [a = "", b = "", rest = ""] = address.replace("fd00:", "").split(/:+/);
          const bytes = new DataView(new ArrayBuffer(16));
          bytes.setUint16(0, 0xfd00);
          bytes.setUint16(2, Number.parseInt(a, 16));
          bytes.setUint16(4, Number.parseInt(b, 16));
          bytes.setUint16(14, Number.parseInt(rest, 16));
          expect(table.lookUp6(bytes, 0)).toBe(scan(texts, address));
        }
      }),
      propertyRuns(200),
    );
  });

  it("knows senders and our own subnet", () => {
    const state: TunnelState = {
      device: "t",
      port: 8285,
      own: { subnet: parsePrefix("10.5.1.0/24") },
      peers: [{ key: "a", subnet: parsePrefix("10.5.2.0/24"), publicIp: parseAddress("192.0.2.1") }],
      checkSource: true,
      offload: true,
    };
    const table = ForwardingTable.build(state, () => 3);
    expect([table.isSender4(0xc0000201 | 0), table.isSender4(0xc0000202 | 0)]).toEqual([true, false]);
    expect([table.isOwn4(0x0a050109), table.isOwn4(0x0a050209)]).toEqual([true, false]);
    expect(new ForwardingTable(table.buffer).lookUp4(0x0a0502ff)).toBe(0);
  });
});
