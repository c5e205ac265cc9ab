import { expect, test } from "vitest";
import { parseAddress, parsePrefix } from "../../../ip/address.ts";
import { isMeant } from "./meant-peer.ts";

test.each([
  ["10.5.2.0-24", true],
  ["10.5.2.0/24", true],
  ["10.5.2.77", true],
  ["192.0.2.2", true],
  ["fd00:5:0:2:0::1", true],
  ["10.5.3.1", false],
  ["10.5.2.0/25", false],
  ["192.0.2.3", false],
  ["", false],
])("%s names the peer: %s", (target, isIt) => {
  const peer = {
    key: "10.5.2.0-24",
    subnets: [parsePrefix("10.5.2.0/24"), parsePrefix("fd00:5:0:2::/64")],
    publicAddresses: [parseAddress("192.0.2.2"), undefined],
  };
  expect(isMeant(peer, target)).toBe(isIt);
});
