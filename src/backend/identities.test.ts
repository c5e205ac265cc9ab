// What is kept of each backend's identity, and where it comes from.
import { describe, expect, it, test } from "vitest";
import type { BackendIdentity, BackendModule, IdentityFacts } from "./backend.ts";
import {
  identityFields,
  MAX_IDENTITY_CHARACTERS,
  matchesIdentity,
  readIdentityFields,
  restoreIdentities,
} from "./identities.ts";
import { backends } from "./registry.ts";

const { modules } = backends;

/** Links of this host; each random byte is 0xff. */
function facts(devices: readonly string[] = [], links: IdentityFacts["links"] = []): IdentityFacts {
  const curve25519PublicKey = (key: string) => `public ${key}`;
  return { devices, links, randomBytes: (count) => new Uint8Array(count).fill(0xff), curve25519PublicKey };
}

const remembered = { vtepMac: "02:00:00:00:00:01", vtepMacV6: "02:00:00:00:00:02" };
const living = [
  { name: "flannel.1", kind: "vxlan", mac: "02:00:00:00:00:a1" },
  { name: "flannel-v6.1", kind: "vxlan", mac: "02:00:00:00:00:a2" },
];
const random = { vtepMac: "fe:ff:ff:ff:ff:ff", vtepMacV6: "fe:ff:ff:ff:ff:ff" };

describe("the vxlan backend's", () => {
  const restore = (known: unknown, from = facts()) =>
    restoreIdentities(modules, "vxlan", { vxlan: known }, from)["vxlan"];

  it("is that of the living devices, then the remembered one, then a new one", () => {
    const devices = living.map(({ name }) => name);
    expect(restore(remembered, facts(devices, living))).toEqual({
      vtepMac: "02:00:00:00:00:a1",
      vtepMacV6: "02:00:00:00:00:a2",
    });
    expect(restore(remembered, facts(devices.slice(1), living))).toEqual({
      ...remembered,
      vtepMacV6: "02:00:00:00:00:a2",
    });
    expect(
      restore(remembered, facts(devices, [{ name: "flannel.1", kind: "bridge", mac: "02:00:00:00:00:a1" }])),
    ).toEqual(remembered);
    expect(restore(undefined)).toEqual(random);
  });

  it.each([null, 7, "x", [], { vtepMac: "nonsense", vtepMacV6: 5 }])("is a new one when %j is remembered", (known) => {
    expect(restore(known)).toEqual(random);
  });

  it.each([
    ["our IPv4 VTEP", { backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:01" } }, true],
    ["it in another spelling", { backendData: { vtepmac: "02-00-00-00-00-01" } }, true],
    ["our IPv6 VTEP", { backendV6Data: { VtepMAC: "02:00:00:00:00:02" } }, true],
    ["another host's", { backendData: { VtepMAC: "02:00:00:00:00:03" } }, false],
    ["none", {}, false],
  ])("is recognised in a lease that announces %s: %j is %s", (_, attributes, isOurs) => {
    expect(matchesIdentity(modules, { vxlan: remembered }, attributes)).toBe(isOurs);
    expect(matchesIdentity(modules, {}, attributes)).toBe(false);
  });

  it("is kept while another backend is in use, and made for the version before, which demands it", () => {
    expect(restoreIdentities(modules, "udp", { vxlan: remembered }, facts())).toEqual({ vxlan: remembered });
    expect(restoreIdentities(modules, "udp", {}, facts())).toEqual({ vxlan: random });
  });
});

describe("a backend's with one record", () => {
  const keyed = (identity: BackendIdentity<unknown>): BackendModule => ({ ...modules[3]!, type: "keyed", identity });
  const other = keyed({ restore: (known) => known ?? { key: "new" }, matches: () => false });

  test("is made when it comes into use, and kept as it is while it is not", () => {
    expect(restoreIdentities([other], "keyed", {}, facts())).toEqual({ keyed: { key: "new" } });
    expect(restoreIdentities([other], "vxlan", {}, facts())).toEqual({});
    expect(restoreIdentities([other], "vxlan", { keyed: { key: "old" } }, facts())).toEqual({ keyed: { key: "old" } });
  });

  test("is bounded, when it is made and when it is read", () => {
    const large = { key: "x".repeat(MAX_IDENTITY_CHARACTERS) };
    const careless = keyed({ restore: () => large, matches: () => false });
    expect(() => restoreIdentities([careless], "keyed", {}, facts())).toThrow("too large");
    expect(readIdentityFields([other], { identities: { keyed: large } })).toEqual({});
  });
});

test("what the state file holds is read again; the fields of earlier versions where there is no record", () => {
  const fields = identityFields(modules, { vxlan: remembered });
  expect(fields).toEqual({ ...remembered, identities: { vxlan: remembered } });
  expect(readIdentityFields(modules, fields)).toEqual({ vxlan: remembered });
  expect(readIdentityFields(modules, remembered)).toEqual({ vxlan: remembered });
  expect(readIdentityFields(modules, { identities: { nobody: {}, vxlan: { vtepMac: "x" } } })).toEqual({
    vxlan: { vtepMac: "x" },
  });
  for (const identities of [undefined, null, 5, [], "x"])
    expect(readIdentityFields(modules, { identities })).toEqual({});
});
