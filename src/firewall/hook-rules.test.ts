import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { hasCode } from "../errors.ts";
import type { Prefix } from "../ip/address.ts";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import { testWays } from "./hook-packets.ts";
import { addNftObject, collectNamedPrefixes, type HookTables, outcomeOf } from "./hook-rules.ts";
import { readSavedRules } from "./legacy-rules.ts";
import { nftObjects } from "./nft-objects.ts";

const context = {
  networks: [parsePrefix("10.5.0.0/16"), parsePrefix("fd00:5::/48")],
  ownSubnets: [parsePrefix("10.5.0.0/24"), parsePrefix("fd00:5:0:1::/64")],
  tunnel: { 4: "flannel.1", 6: "flannel-v6.1" },
  inside: "cni0",
  outer: { device: "eth0", udpPort: 8472, addresses: [parseAddress("192.0.2.1")] },
} as const;

/** Whatever was read, every packet has an outcome in every chain. */
function walk(tables: HookTables): void {
  const named = new Set<Prefix>();
  Array.from(collectNamedPrefixes(tables, named));
  const ways = testWays(context, [...named]).slice(0, 8);
  for (const chains of tables.values()) {
    for (const chain of chains.values()) for (const { packet } of ways) outcomeOf(chain, packet, tables);
  }
}

const word = fc.constantFrom(
  "match",
  "left",
  "right",
  "op",
  "payload",
  "protocol",
  "field",
  "ip",
  "saddr",
  "meta",
  "key",
  "iifname",
  "set",
  "prefix",
  "addr",
  "len",
  "drop",
  "jump",
  "target",
  "f",
  "==",
  "!=",
  "in",
  "range",
  "xt",
  "10.5.0.0",
  24,
  null,
);
const expression = fc.letrec((tie) => ({
  node: fc.oneof(
    { maxDepth: 4 },
    word,
    fc.dictionary(
      fc.constantFrom(
        "match",
        "left",
        "right",
        "op",
        "payload",
        "protocol",
        "field",
        "meta",
        "key",
        "set",
        "prefix",
        "addr",
        "len",
        "drop",
        "jump",
        "target",
        "&",
        "ct",
        "xt",
        "type",
        "name",
      ),
      tie("node"),
      { maxKeys: 3 },
    ),
    fc.array(tie("node"), { maxLength: 3 }),
  ),
})).node;

test("no listing of nft, however strange, is an error", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(expression, { maxLength: 4 }), { maxLength: 5 }),
      fc.constantFrom("inet", "ip", "bridge", "arp", 7),
      (rules, family) => {
        const tables: HookTables = new Map();
        for (const name of ["f", "g"])
          addNftObject(tables, {
            chain: { family, table: "t", name, hook: "forward", type: "filter", policy: "drop" },
          });
        for (const expr of rules) addNftObject(tables, { rule: { family, table: "t", chain: "f", expr } });
        walk(tables);
      },
    ),
    propertyRuns(20_000),
  );
});

test("no text of iptables-save, however strange, is an error", () => {
  const part = fc.constantFrom(
    "*filter",
    "*raw",
    ":FORWARD DROP [0:0]",
    ":F - [0:0]",
    "-A FORWARD ",
    "-A F ",
    "-s 10.5.0.0/16 ",
    "-d ",
    "! ",
    "-i eth+ ",
    '-m comment --comment "a \\" b" ',
    "-j F",
    "-j DROP",
    "-g FORWARD",
    "--dport 8472 ",
    "-p udp ",
    "\n",
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(part, fc.string({ maxLength: 5 })), { maxLength: 40 }), (parts) => {
      const tables: HookTables = new Map();
      Array.from(readSavedRules(parts.join(""), 4, true, tables));
      walk(tables);
    }),
    propertyRuns(20_000),
  );
});

test("the objects of a listing are those that JSON has; half a listing is none", () => {
  fc.assert(
    fc.property(fc.array(fc.dictionary(fc.string(), fc.json()), { maxLength: 6 }), fc.nat(), (objects, cut) => {
      const text = JSON.stringify({ nftables: objects });
      expect([...nftObjects(text)]).toEqual(objects.map((object) => ({ ...object })));
      try {
        for (const object of nftObjects(text.slice(0, cut % text.length))) void object;
        expect.unreachable();
      } catch (error) {
        if (!hasCode(error, "FIREWALL_UNREADABLE")) throw error;
      }
    }),
    propertyRuns(5_000),
  );
});
