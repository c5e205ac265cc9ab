// An upgrade as an operator does it by hand: two hosts on an etcd, the agent of one build is stopped and that of the other
// started with the same flags; with the store there, and while it is away.
import { EtcdScene, HOSTS } from "./etcd-scene.ts";
import type { Report } from "./report.ts";
import type { UpgradeTask } from "./upgrade.ts";

export async function upgradeOnEtcd({ builds, plan }: UpgradeTask, report: Report): Promise<void> {
  await using scene = await EtcdScene.start(plan.config, builds.base, report);
  const before = await scene.view();
  for (const [step, to] of [
    ["base to new", builds.new],
    ["new to base", builds.base],
  ] as const) {
    await scene.expectRefused(step, 1, to);
    await scene.carryWhile(step, async () => {
      for (const number of HOSTS) await scene.replace(number, to);
    });
    const after = await scene.view();
    scene.checkView(step, before, after);
    scene.checkNotRemade(step, before, after);
  }
  for (const [step, to, rebooted, kept] of [
    ["base to new, no store", builds.new, 2, 1],
    ["new to base, no store", builds.base, 1, 2],
  ] as const) {
    await scene.stopStore();
    await scene.carryWhile(step, () => scene.replaceFromState(step, kept, to));
    await scene.replaceAfterReboot(step, rebooted, to);
    await scene.startStore();
    scene.checkView(step, before, await scene.view());
  }
}
