// The package as people use it: installed on hosts that have never had a checkout, upgraded while packets flow, removed and
// purged. Downgrades, other systems, other forms of package and the documented ways are in long/package.test.ts.
import { expect, it } from "vitest";
import { ContinuousPing, untilAllPing } from "../../lab/probe.ts";
import { bootTwo, dpkg, formCluster, makePackage } from "../support/installed-host.ts";

it("a .deb installs, connects two hosts, is upgraded under traffic, removed and purged", async () => {
  const older = await makePackage("deb", "1.0.0");
  await using resources = new AsyncDisposableStack();
  const {
    hosts: [h1, h2],
  } = await bootTwo(resources, "/");
  for (const host of [h1, h2]) await host.sh(dpkg.install(host.place(older)));
  expect(await h1.sh("systemctl list-units --all --plain --no-legend 'flannel*'")).toBe("");
  const pods = await formCluster([h1, h2]);
  await untilAllPing(pods);

  await using traffic = await ContinuousPing.start(pods[0].namespace, pods[1].ipv4 ?? "");
  await h2.upgrade(dpkg.install(h2.place(await makePackage("deb", "1.0.1"))));
  await traffic.more(50);
  expect((await traffic.stop()).lost).toEqual([]);
  expect(await h2.sh("cat /usr/lib/flannel/VERSION")).toBe("1.0.1\n");

  // What is removed says what stays: containers talk on.
  expect(await h2.sh(dpkg.remove)).toContain("flannelctl cleanup --all");
  expect(await h2.isActive("flanneld")).toBe(false);
  await untilAllPing(pods);
  await h2.sh("dpkg --purge flannel");
  const traces = "ls -d /etc/flannel /etc/default/flannel* /var/lib/flannel* /usr/lib/flannel 2>/dev/null || :";
  expect(await h2.sh(traces)).toBe("");
});
