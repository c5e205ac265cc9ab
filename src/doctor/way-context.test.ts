// Which devices containers are behind.
import { expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { insideDevicesOf } from "./way-context.ts";

function inside(index: number, name: string, container: string) {
  const address = parseAddress(container);
  return { device: { index, name }, address, container: address };
}

test("the bridge of both families is one device, which is told once", () => {
  const ipv4 = inside(5, "cni0", "10.5.1.2");
  expect(insideDevicesOf({ inside: { 4: ipv4, 6: inside(5, "cni0", "fd00::2") } })).toEqual(["cni0"]);
  expect(insideDevicesOf({ inside: { 4: ipv4, 6: inside(6, "cni1", "fd00::2") } })).toEqual(["cni0", "cni1"]);
  expect(insideDevicesOf({ inside: {} })).toEqual([]);
});
