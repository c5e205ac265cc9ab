import { expect, test } from "vitest";
import type { Rules } from "../../../agent/control/control-protocol.ts";
import { makePaint } from "../../../terminal/text.ts";
import { renderRules } from "./rules.ts";

const rules: Rules = {
  mode: "nftables",
  reason: "EnableNFTables is true",
  wanted: ["add table ip flannel-ipv4", "add rule ip flannel-ipv4 forward ip saddr 10.5.0.0/16 accept"],
  found: ["add table ip flannel-ipv4"],
  difference: [],
};

test("shows what is wanted and says when exactly that is there", () => {
  expect(renderRules(rules, makePaint(false))).toEqual([
    "# kept in nftables: EnableNFTables is true",
    "# wanted (2 lines)",
    ...rules.wanted,
    "",
    "# exactly these are there",
  ]);
});

test("shows what is missing and what is there instead", () => {
  const lines = renderRules({ ...rules, difference: [`+ ${rules.wanted[1]}`] }, makePaint(false));
  expect(lines.slice(5)).toEqual([
    "# what is there differs in 1 line",
    `+ ${rules.wanted[1]}`,
    "",
    "# there (1 line)",
    "add table ip flannel-ipv4",
  ]);
});
