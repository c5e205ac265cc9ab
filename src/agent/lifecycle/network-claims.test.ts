// What one network of an agent may not share with another: refused by the name of the one that has it.
import { expect, test } from "vitest";
import { parsePrefix } from "../../ip/address.ts";
import { type NetworkClaim, NetworkClaims } from "./network-claims.ts";

const claim = (network: string, more: Partial<NetworkClaim> = {}): NetworkClaim => ({
  ...{ devices: [], ports: [], networks: [parsePrefix(network)] },
  ...more,
});

test.each<[string, NetworkClaim, NetworkClaim, RegExp | undefined]>([
  ["other addresses", claim("10.1.0.0/16"), claim("10.2.0.0/16"), undefined],
  [
    "overlapping addresses",
    claim("10.1.0.0/16"),
    claim("10.1.128.0/17"),
    /10\.1\.128\.0\/17 overlaps 10\.1\.0\.0\/16 of network red/,
  ],
  ["overlapping addresses, a table for one", claim("10.1.0.0/16"), claim("10.1.0.0/16", { table: 100 }), /overlaps/],
  [
    "overlapping addresses, a table for each",
    claim("10.1.0.0/16", { table: 100 }),
    claim("10.1.0.0/16", { table: 101 }),
    undefined,
  ],
  [
    "one table for both",
    claim("10.1.0.0/16", { table: 100 }),
    claim("10.2.0.0/16", { table: 100 }),
    /RoutingTable 100 is in use by network red/,
  ],
  [
    "one device",
    claim("10.1.0.0/16", { devices: ["flannel.1"] }),
    claim("10.2.0.0/16", { devices: ["flannel.1"] }),
    /device flannel\.1 is in use by network red/,
  ],
  [
    "one port",
    claim("10.1.0.0/16", { ports: [{ port: 8285 }] }),
    claim("10.2.0.0/16", { ports: [{ port: 8285 }] }),
    /UDP port 8285 is in use by network red/,
  ],
  [
    "a port that the kernel shares",
    claim("10.1.0.0/16", { ports: [{ port: 8472, sharedBy: "vxlan" }] }),
    claim("10.2.0.0/16", { ports: [{ port: 8472, sharedBy: "vxlan" }] }),
    undefined,
  ],
])("%s", (_, first, second, refusal) => {
  let freed = 0;
  const claims = new NetworkClaims("VNI (vxlan)", () => freed++);
  claims.for("red").claim(first);
  const take = () => claims.for("blue").claim(second);
  if (refusal === undefined) return take();
  expect(take).toThrow(refusal);
  const before = freed;
  claims.release("red");
  expect(freed).toBe(before + 1);
  take();
});
