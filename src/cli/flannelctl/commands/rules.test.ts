import { expect, test } from "vitest";
import { flannelctl, replyJson, StandInAgent, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";
import type { Rules } from "../../../agent/control/control-protocol.ts";
import { makePaint } from "../../../terminal/text.ts";
import { renderRules } from "./rules.ts";

const rules: Rules["networks"][number] = {
  name: "/coreos.com/network",
  mode: "nftables",
  reason: "EnableNFTables is true",
  wanted: ["add table ip flannel-ipv4", "add rule ip flannel-ipv4 forward ip saddr 10.5.0.0/16 accept"],
  found: ["add table ip flannel-ipv4"],
  difference: [],
};

test("shows the desired rules and says when the kernel matches them", () => {
  expect(renderRules({ networks: [rules] }, makePaint(false))).toEqual([
    "# kept in nftables: EnableNFTables is true",
    "# desired (2 lines)",
    ...rules.wanted,
    "",
    "# the kernel matches them",
  ]);
});

test("shows the difference and the observed rules", () => {
  const lines = renderRules({ networks: [{ ...rules, difference: [`+ ${rules.wanted[1]}`] }] }, makePaint(false));
  expect(lines.slice(5)).toEqual([
    "# the kernel differs in 1 line",
    `+ ${rules.wanted[1]}`,
    "",
    "# observed (1 line)",
    "add table ip flannel-ipv4",
  ]);
});

test("several networks have a heading each", () => {
  const lines = renderRules({ networks: [rules, { ...rules, name: "/second" }] }, makePaint(false));
  expect(lines.filter((line) => line.startsWith("# network"))).toEqual([
    "# network /coreos.com/network",
    "# network /second",
  ]);
});

test("--json is by the published schema", async () => {
  using directory = new TemporaryDirectory();
  await using agent = await StandInAgent.listen(directory.file("s"), (_path, response) =>
    replyJson(response, { networks: [rules] }),
  );
  const { exitCode, stdout } = await flannelctl(["rules", "--socket", directory.file("s"), "--json"]);
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toEqual({ version: 1, networks: [rules] });
  expect(agent.requests).toEqual(["GET /v2/rules"]);
});
