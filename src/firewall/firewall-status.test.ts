import { expect, it } from "vitest";
import { silentLogger } from "../telemetry/logger.ts";
import { Metrics } from "../telemetry/metrics/metrics.ts";
import { RuleRepairLog } from "./firewall-status.ts";

it.each<[string, string[]]>([
  ["unknown", []],
  ["iptables", ["iptables (pid 17)"]],
  ["iptables", ["iptables (pid 17)", "iptables (pid 18)"]],
  ["several", ["iptables (pid 17)", "firewalld (pid 4)"]],
])("counts repairs for the author %s, without pids: %j", (author, authors) => {
  const metrics = new Metrics();
  const log = new RuleRepairLog(silentLogger, metrics.network("a"));
  log.record(["+ one rule", "- another", "+ a third"], authors);
  expect(log.repairs.total).toBe(3);
  expect(metrics.snapshot()).toMatchObject([
    {
      name: "flannel_firewall_repairs_total",
      samples: [
        { labels: { network: "a", action: "added", author }, value: 2 },
        { labels: { network: "a", action: "removed", author }, value: 1 },
      ],
    },
  ]);
});
