import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { backends, parseConfig } from "../backend/registry.ts";
import { FlannelError } from "../errors.ts";
import { addressToBigInt, prefixLength } from "../ip/address.ts";
import { containsAddress } from "../ip/prefix.ts";
import { compareNetworkConfig } from "./compare-network-config.ts";
import type { AddressPool } from "./network-config.ts";

const vxlan = '"Backend": {"Type": "vxlan"}';

function parse(fields: string): ReturnType<typeof parseConfig> {
  return parseConfig(`{${fields}, ${vxlan}}`);
}

function poolText(pool: AddressPool | undefined): string {
  return pool === undefined ? "none" : `${pool.network} ${pool.subnetLength} ${pool.subnetMin} ${pool.subnetMax}`;
}

function failure(text: string): FlannelError {
  try {
    parseConfig(text);
  } catch (error) {
    if (error instanceof FlannelError) return error;
  }
  throw new Error(`accepted: ${text}`);
}

describe("parseNetworkConfig", () => {
  it.each([
    ['"network": "10.3.0.0/16"', "10.3.0.0/16 24 10.3.1.0 10.3.255.0"],
    ['"Network": "10.3.4.5/16"', "10.3.0.0/16 24 10.3.1.0 10.3.255.0"],
    [
      '"Network": "10.3.0.0/16", "SubnetMin": "10.3.5.0", "SubnetMax": "10.3.8.0", "SubnetLen": 28',
      "10.3.0.0/16 28 10.3.5.0 10.3.8.0",
    ],
    ['"Network": "10.0.0.0/8"', "10.0.0.0/8 24 10.0.1.0 10.255.255.0"],
    ['"Network": "10.0.0.0/22"', "10.0.0.0/22 24 10.0.1.0 10.0.3.0"],
    ['"Network": "10.0.0.0/23"', "10.0.0.0/23 25 10.0.0.128 10.0.1.128"],
    ['"Network": "10.0.0.0/24"', "10.0.0.0/24 26 10.0.0.64 10.0.0.192"],
    ['"Network": "10.0.0.0/28"', "10.0.0.0/28 30 10.0.0.4 10.0.0.12"],
    ['"Network": "10.3.0.0/16", "SubnetLen": 0, "SubnetMin": "0.0.0.0"', "10.3.0.0/16 24 10.3.1.0 10.3.255.0"],
    ['"Network": "10.3.0.0/16", "SubnetLen": 18', "10.3.0.0/16 18 10.3.64.0 10.3.192.0"],
    ['"Network": "10.3.0.0/16", "SubnetLen": null, "EnableIPv4": null', "10.3.0.0/16 24 10.3.1.0 10.3.255.0"],
    [
      '"Network": "10.1.0.0/16", "network": "10.2.0.0/16", "Network": "10.3.0.0/16"',
      "10.3.0.0/16 24 10.3.1.0 10.3.255.0",
    ],
    ['"Network": "10.1.0.0/16", "NETWORK": "10.2.0.0/16"', "10.2.0.0/16 24 10.2.1.0 10.2.255.0"],
    ['"Network": "10.3.0.0/16", "\\u0053ubnetLen": 26', "10.3.0.0/16 26 10.3.0.64 10.3.255.192"],
  ])("derives IPv4 from %s", (fields, expected) => {
    expect(poolText(parse(fields).config.ipv4)).toBe(expected);
    expect(parse(fields).config.ipv6).toBeUndefined();
  });

  it.each([
    ['"ipv6Network": "fc00::/48"', "fc00::/48 64 fc00:0:0:1:: fc00:0:0:ffff::"],
    [
      '"IPv6Network": "fc00::/48", "IPv6SubnetMin": "fc00:0:0:1::", "IPv6SubnetMax": "fc00:0:0:f::", "IPv6SubnetLen": 124',
      "fc00::/48 124 fc00:0:0:1:: fc00:0:0:f::",
    ],
    ['"IPv6Network": "fc00::/63"', "fc00::/63 65 fc00::8000:0:0:0 fc00:0:0:1:8000::"],
    ['"IPv6Network": "fc00::/124"', "fc00::/124 126 fc00::4 fc00::c"],
    ['"IPv6Network": "fc00::/48", "IPv6SubnetMin": null', "fc00::/48 64 fc00:0:0:1:: fc00:0:0:ffff::"],
  ])("derives IPv6 from %s", (fields, expected) => {
    const { config } = parse(`"enableIPv6": true, "enableIPv4": false, ${fields}`);
    expect(poolText(config.ipv6)).toBe(expected);
    expect(config.ipv4).toBeUndefined();
  });

  it("enables both families", () => {
    const { config, warnings } = parse('"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"');
    expect([poolText(config.ipv4), poolText(config.ipv6)]).toEqual([
      "10.5.0.0/16 24 10.5.1.0 10.5.255.0",
      "fd00::/48 64 fd00:0:0:1:: fd00:0:0:ffff::",
    ]);
    expect(warnings).toEqual([]);
    expect(Object.isFrozen(config) && Object.isFrozen(config.backend) && Object.isFrozen(config.ipv4)).toBe(true);
  });

  it.each([
    ["", "Network is missing"],
    ['"Network": "0.0.0.0/0"', "Network 0.0.0.0/0 must not be the whole address space"],
    ['"Network": "127.0.0.0/16"', "Network 127.0.0.0/16 must not overlap 127.0.0.0/8, the loopback addresses"],
    ['"Network": "96.0.0.0/3"', "Network 96.0.0.0/3 must not overlap 127.0.0.0/8"],
    ['"Network": "239.1.0.0/16"', "Network 239.1.0.0/16 must not overlap 224.0.0.0/4, the multicast addresses"],
    ['"Network": "10.0.0.0/29"', "Network 10.0.0.0/29 is too small: its prefix must be at most /28"],
    ['"Network": "10.3.0.0/16", "SubnetLen": 31', "SubnetLen 31 must be at most 30"],
    ['"Network": "10.3.0.0/16", "SubnetLen": 17', "SubnetLen 17 must be at least 18"],
    ['"Network": "10.3.0.0/16", "SubnetLen": 15', "SubnetLen 15 must be at least 18"],
    ['"Network": "10.3.0.0/16", "SubnetLen": -1', "SubnetLen -1 must be a whole number"],
    ['"Network": "10.3.0.0/16", "SubnetLen": 24.0', "SubnetLen 24.0 must be a whole number"],
    ['"Network": "10.3.0.0/16", "SubnetLen": "24"', "SubnetLen 24 must be a whole number"],
    ['"Network": "10.3.0.0/16", "SubnetMin": "10.4.0.0"', "SubnetMin 10.4.0.0 must lie inside Network 10.3.0.0/16"],
    ['"Network": "10.3.0.0/16", "SubnetMax": "10.4.0.0"', "SubnetMax 10.4.0.0 must lie inside Network 10.3.0.0/16"],
    ['"Network": "10.3.0.0/16", "SubnetMin": "10.3.1.5"', "SubnetMin 10.3.1.5 must be the first address of a /24"],
    ['"Network": "10.3.0.0/16", "SubnetMax": "10.3.1.5"', "SubnetMax 10.3.1.5 must be the first address of a /24"],
    [
      '"Network": "10.3.0.0/16", "SubnetMin": "10.3.9.0", "SubnetMax": "10.3.8.0"',
      "SubnetMin 10.3.9.0 must not be above SubnetMax 10.3.8.0",
    ],
    ['"Network": null', "Network null must be an IPv4 prefix"],
    ['"Network": "fc00::/48"', "Network fc00::/48 must be an IPv4 prefix"],
    ['"Network": "10.3.0.0/16", "SubnetMin": null', "SubnetMin null must be an IPv4 address"],
    ['"Network": "10.3.0.0/16", "EnableIPv4": "yes"', "EnableIPv4 yes must be true or false, not a JSON string"],
    ['"EnableIPv4": false', "EnableIPv4 false disables the only address family"],
    ['"EnableIPv6": true, "EnableIPv4": false', "IPv6Network is missing, but EnableIPv6 is on"],
    ['"EnableIPv6": true, "EnableIPv4": false, "IPv6Network": "fc00::/125"', "IPv6Network fc00::/125 is too small"],
    ['"EnableIPv6": true, "EnableIPv4": false, "IPv6Network": "::/0"', "must not be the whole address space"],
    [
      '"EnableIPv6": true, "EnableIPv4": false, "IPv6Network": "fc00::/48", "IPv6SubnetLen": 127',
      "IPv6SubnetLen 127 must be at most 126",
    ],
    ['"IPv6Network": null', "IPv6Network null must be an IPv6 prefix"],
  ])("refuses %s", (fields, message) => {
    const error = failure(fields === "" ? `{${vxlan}}` : `{${fields}, ${vxlan}}`);
    expect(error.code).toBe("CONFIG_INVALID");
    expect(error.message).toContain(message);
    expect(Object.keys(error.details).toSorted()).toEqual(["key", "rule", "value"]);
  });

  it.each([
    ["not json", "is not valid JSON"],
    ["", "is not valid JSON"],
    ["[]", "(document) cannot be used: expected a JSON object, found array"],
    ["[]", "expected a JSON object, found array"],
    ["null", "expected a JSON object, found null"],
    [`{"a":${"[".repeat(65)}${"]".repeat(65)}}`, "nested more than 64 deep"],
    [`{"a":"${"x".repeat(70000)}"}`, "is longer than 65536 characters"],
  ])("refuses the document %j", (text, message) => {
    expect(failure(text).message).toContain(message);
  });

  it.each([
    ["", "udp"],
    [', "Backend": {"Type": "VXLAN"}', "vxlan"],
    [', "backend": {"type": "Host-GW"}', "host-gw"],
    [', "Backend": {"Type": "nonsense", "What": 1}', "nonsense"],
  ])("reads the backend type from %j", (backend, type) => {
    expect(parseConfig(`{"Network":"10.5.0.0/16"${backend}}`).config.backendType).toBe(type);
  });

  it.each([
    ['"Backend": {}', "Backend.Type is missing"],
    ['"Backend": {"Type": null}', "Backend.Type is missing"],
    ['"Backend": null', "Backend null must be an object with a Type, not a JSON null"],
    ['"Backend": "vxlan"', "Backend vxlan must be an object with a Type, not a JSON string"],
    ['"Backend": [{ "PSK": "secret" }]', "Backend must be an object with a Type, not a JSON array"],
    ['"Backend": {"Type": 7}', "Backend.Type 7 must be a string"],
    ['"Backend": {"Type": "vxlan", "VNI": 1.0}', "Backend.VNI 1.0 must be a whole number"],
  ])("refuses %s", (backend, message) => {
    expect(failure(`{"Network":"10.5.0.0/16", ${backend}}`).message).toContain(message);
  });

  it("keeps the last of duplicate backend keys, whatever their case, but not a later null", () => {
    const { config } = parseConfig(
      '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":1,"vni":2,"VNI":3,"Port":9,"port":null}}',
    );
    expect(config.backend).toEqual({ Type: "vxlan", VNI: 3, Port: 9 });
  });

  it("warns about unknown keys with the nearest known one", () => {
    const { warnings } = parseConfig(
      '{"Netwrok":"10.9.0.0/16","Network":"10.5.0.0/16","zzz":1,"Backend":{"Type":"vxlan","DirectRoutin":true,"__proto__":{"a":1}}}',
    );
    expect(warnings).toEqual([
      {
        path: "Netwrok",
        message: '"Netwrok" is not a key of the network config: ignoring it (did you mean Network?)',
      },
      { path: "zzz", message: '"zzz" is not a key of the network config: ignoring it' },
      {
        path: "Backend.DirectRoutin",
        message: '"DirectRoutin" is not a key of Backend: ignoring it (did you mean Backend.DirectRouting?)',
      },
      { path: "Backend.__proto__", message: '"__proto__" is not a key of Backend: ignoring it' },
    ]);
    expect(({} as Record<string, unknown>)["a"]).toBeUndefined();
  });

  it("warns about a Network that its family switch leaves unused", () => {
    expect(parse('"Network":"10.5.0.0/16","IPv6Network":"fd00::/48"').warnings.map(({ path }) => path)).toEqual([
      "IPv6Network",
    ]);
  });
});

describe("fuzzing", () => {
  const keys = ["Network", "network", "SubnetLen", "SubnetMin", "SubnetMax", "Backend", "EnableIPv4", "EnableIPv6"];
  const moreKeys = ["EnableNFTables", "IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax", "__proto__"];
  const key = fc.oneof(fc.constantFrom(...keys, ...moreKeys), fc.string());
  const prefix = fc.oneof(
    fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 33 })).map(([address, length]) => `${address}/${length}`),
    fc.tuple(fc.ipV6(), fc.integer({ min: 0, max: 129 })).map(([address, length]) => `${address}/${length}`),
  );
  const backend = fc.dictionary(
    fc.oneof(fc.constantFrom("Type", "VNI", "Port", "MTU", "GBP", "type"), fc.string()),
    fc.oneof(fc.constantFrom("vxlan", "host-gw", "alloc", ""), fc.integer(), fc.boolean(), fc.jsonValue()),
  );
  const value = fc.oneof(prefix, fc.ipV4(), fc.ipV6(), fc.integer({ min: -2, max: 130 }), backend, fc.jsonValue());
  const document = fc
    .array(fc.tuple(key, value), { maxLength: 8 })
    .map(
      (entries) =>
        `{${entries.map(([name, content]) => `${JSON.stringify(name)}:${JSON.stringify(content)}`).join(",")}}`,
    );
  const damaged = fc
    .tuple(document, fc.nat(), fc.string({ maxLength: 3 }))
    .map(([text, at, part]) => text.slice(0, at % (text.length + 1)) + part + text.slice((at % (text.length + 1)) + 1));

  it("either gives a sound pool or one config.invalid, for random documents", () => {
    const check = (text: string): void => {
      try {
        const { config } = parseConfig(text);
        if (config.ipv4 !== undefined) expectSound(config.ipv4);
        if (config.ipv6 !== undefined) expectSound(config.ipv6);
      } catch (error) {
        if (!(error instanceof FlannelError) || error.code !== "CONFIG_INVALID") throw error;
        if (error.message.includes("\n") || error.message.length > 400) throw error;
      }
    };
    fc.assert(fc.property(fc.oneof(document, damaged, fc.string()), check), propertyRuns(100_000));
  });

  function expectSound(pool: AddressPool): void {
    const size = 1n << BigInt((pool.network.includes(":") ? 128 : 32) - pool.subnetLength);
    const isSound =
      pool.subnetLength >= prefixLength(pool.network) + 2 &&
      containsAddress(pool.network, pool.subnetMin) &&
      containsAddress(pool.network, pool.subnetMax) &&
      addressToBigInt(pool.subnetMin) % size === 0n &&
      addressToBigInt(pool.subnetMax) % size === 0n &&
      addressToBigInt(pool.subnetMin) <= addressToBigInt(pool.subnetMax);
    if (!isSound) throw new Error(`unsound pool ${poolText(pool)}`);
  }
});

describe("compareNetworkConfig", () => {
  const base = '"Network":"10.5.0.0/16"';
  it.each([
    [`{${base},"Backend":{"Type":"vxlan"}}`, `{${base},"backend":{"type":"VXLAN","vni":1,"MTU":0}}`, [], []],
    [
      `{${base},"Backend":{"Type":"vxlan"}}`,
      `{${base},"Backend":{"Type":"vxlan","MTU":1400,"Learning":true,"DirectRouting":true}}`,
      ["Backend.MTU", "Backend.Learning", "Backend.DirectRouting"],
      [],
    ],
    [
      `{${base},"Backend":{"Type":"vxlan"}}`,
      `{${base},"Backend":{"Type":"vxlan","VNI":2,"Port":4789}}`,
      [],
      ["Backend.VNI", "Backend.Port"],
    ],
    [`{${base},"Backend":{"Type":"vxlan"}}`, `{${base},"Backend":{"Type":"host-gw"}}`, [], ["Backend.Type"]],
    [
      `{${base},"Backend":{"Type":"vxlan"}}`,
      '{"Network":"10.6.0.0/16","EnableNFTables":true,"Backend":{"Type":"vxlan"}}',
      [],
      ["EnableNFTables", "Network", "SubnetMin", "SubnetMax"],
    ],
    [
      `{${base},"Backend":{"Type":"vxlan"}}`,
      `{${base},"EnableIPv6":true,"IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}`,
      [],
      ["EnableIPv6"],
    ],
  ])("%s against %s", (before, after, live, restart) => {
    const [running, next] = [parseConfig(before).config, parseConfig(after).config];
    const keys = backends.keysOf(next);
    expect(compareNetworkConfig(running, next, keys)).toEqual({ live, restart });
  });
});
