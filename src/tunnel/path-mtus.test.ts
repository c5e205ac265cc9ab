// Limits of paths, asked of this kernel: the loopback device is the path (IP_MAX_MTU is 65,535).
import { expect, it } from "vitest";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import { ForwardingTable } from "./forwarding-table.ts";
import { PathMtus } from "./path-mtus.ts";

const NO_LIMIT = 65_535;

/** One peer, whose counters are always in the same place. */
function tableWith(publicIp: string, publicIpv6: string): ForwardingTable {
  const peer = {
    key: "peer",
    subnet: parsePrefix("10.5.2.0/24"),
    publicIp: parseAddress(publicIp),
    ipv6Subnet: parsePrefix("fd00:5:0:2::/64"),
    publicIpv6: parseAddress(publicIpv6),
    ipv6Port: 8285,
  };
  return ForwardingTable.build(
    { device: "t", port: 8285, own: {}, peers: [peer], checkSource: true, offload: true },
    () => 3,
  );
}

it.each([
  [false, 65_535 - 28],
  [true, 65_536 - 48],
])("a learned limit is for the peer with that address, not for the next one in its place (IPv6: %s)", (isV6, limit) => {
  const paths = new PathMtus();
  const table = tableWith("127.0.0.1", "::1");
  expect(paths.limitBytes(table, 0, isV6)).toBe(NO_LIMIT);
  paths.learn(table, 0, isV6);
  expect(paths.limitBytes(table, 0, isV6)).toBe(limit);
  expect(paths.limitBytes(table, 0, !isV6)).toBe(NO_LIMIT);
  // The same peer in a new table, then another peer.
  expect(paths.limitBytes(tableWith("127.0.0.1", "::1"), 0, isV6)).toBe(limit);
  expect(paths.limitBytes(tableWith("192.0.2.1", "2001:db8::1"), 0, isV6)).toBe(NO_LIMIT);
});

it.each([
  [false, 65_535 - 28],
  [true, 65_536 - 48],
])("a packet alone is asked about before it is sent, where it may be too large at all (IPv6: %s)", (isV6, limit) => {
  const table = tableWith("127.0.0.1", "::1");
  const fits = new PathMtus();
  expect(fits.limitOfLoneBytes(table, 0, isV6, isV6 ? 1_280 : 548)).toBe(NO_LIMIT);
  expect(fits.limitOfLoneBytes(table, 0, isV6, limit)).toBe(NO_LIMIT);
  // Not again within a second.
  expect(fits.limitOfLoneBytes(table, 0, isV6, limit + 1)).toBe(NO_LIMIT);
  const tooLarge = new PathMtus();
  expect(tooLarge.limitOfLoneBytes(table, 0, isV6, limit + 1)).toBe(limit);
  expect(tooLarge.limitBytes(table, 0, isV6)).toBe(limit);
});
