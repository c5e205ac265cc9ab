// The part of `upgrade` that runs in a box: one scenario and its table.
import { Report } from "./report.ts";
import type { UpgradeTask } from "./upgrade.ts";
import { upgradeOnEtcd } from "./upgrade-on-etcd.ts";
import { upgradeUnderSystemd } from "./upgrade-under-systemd.ts";

const scenarios = { etcd: upgradeOnEtcd, systemd: upgradeUnderSystemd };

async function main(task: UpgradeTask): Promise<number> {
  const started = performance.now();
  const report = new Report(`upgrade: ${task.plan.name}`);
  try {
    await scenarios[task.plan.kind](task, report);
  } catch (error) {
    report.check("", "the scenario", false, error instanceof Error ? error.message : String(error));
  }
  console.log(`${report}\n  ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
  return report.isGood ? 0 : 1;
}

process.exit(await main(JSON.parse(process.argv[2] ?? "") as UpgradeTask));
