import { expect, it } from "vitest";
import { RepairLog } from "../async/repair-log.ts";
import { silentLogger } from "../telemetry/logger.ts";
import { Metrics } from "../telemetry/metrics/metrics.ts";
import { ruleRepairLines, ruleRepairs } from "./rule-repairs.ts";

it.each<[string, string[]]>([
  ["unknown", []],
  ["iptables", ["iptables (pid 17)"]],
  ["iptables", ["iptables (pid 17)", "iptables (pid 18)"]],
  ["several", ["iptables (pid 17)", "firewalld (pid 4)"]],
])("counts repairs for the author %s, without pids: %j", (author, authors) => {
  const metrics = new Metrics();
  const log = new RepairLog(ruleRepairLines(silentLogger), metrics.network("a"));
  log.record(ruleRepairs(["+ one rule", "- another", "+ a third"]), 0, authors);
  expect(log.total).toBe(3);
  expect(metrics.snapshot()).toMatchObject([
    {
      name: "flannel_repairs_total",
      samples: [
        { labels: { network: "a", action: "added", author }, value: 2 },
        { labels: { network: "a", action: "removed", author }, value: 1 },
      ],
    },
  ]);
});

it("tells of repairs that are undone again and again once a minute, by whom, and how many they were", () => {
  const lines: string[] = [];
  const log = new RepairLog(ruleRepairLines({ ...silentLogger, warn: (_, message) => void lines.push(message) }));
  for (let i = 0; i < 40; i++) {
    log.record(ruleRepairs(["+ one rule"]), 100_000 + i * 4_000, [`iptables (pid ${i})`]);
    log.record([], 100_001 + i * 4_000, ["dockerd (pid 1)"]);
  }
  expect(lines).toHaveLength(8);
  expect(lines.slice(4)).toEqual([
    "iptables (pid 4) changed flannel's traffic rules; repaired: added one rule",
    "iptables (pid 5) keeps changing flannel's traffic rules; repaired 1 since the last line, last: added one rule",
    "iptables (pid 18), iptables (pid 19), iptables (pid 20) keeps changing flannel's traffic rules; repaired 15 since the last line, last: added one rule",
    "iptables (pid 33), iptables (pid 34), iptables (pid 35) keeps changing flannel's traffic rules; repaired 15 since the last line, last: added one rule",
  ]);
});
