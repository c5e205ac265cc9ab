// The package as people use it: installed on hosts that have never had a checkout, upgraded while packets flow, removed and
// purged. Downgrades, other systems, other forms of package and the documented ways are in long/package.test.ts.
import { expect, it } from "vitest";
import { ContinuousPing, untilAllPing } from "../../lab/probe.ts";
import { documentedBlock } from "../support/documented-block.ts";
import { bootTwo, dpkg, type InstalledHost, makePackage } from "../support/installed-host.ts";

/** What bash offers after "flannelctl bug" and the tabulator. */
const bashCompletion = `bash -c '. /usr/share/bash-completion/completions/flannelctl
COMP_WORDS=(flannelctl bug) COMP_CWORD=1; _flannelctl; echo "\${COMPREPLY[*]}"'`;

/** README's commands for a small cluster, on hosts that have the file of the package in /root. */
async function followReadme(h1: InstalledHost, h2: InstalledHost): Promise<void> {
  const commands = documentedBlock("README.md", "flannelctl init").split("\n");
  const [install = "", init = "", join = ""] = commands.map((line) => line.replace(/ +#.*$/, ""));
  for (const [index, host] of [h1, h2].entries()) {
    await host.sh(`hostname h${index + 1} && cd /root && ${install}`);
    // Installing alone starts nothing.
    expect(await host.sh("systemctl list-units --all --plain --no-legend 'flannel*'")).toBe("");
  }
  const said = await h1.sh(init);
  // The line that init prints, which README shows with an address and the start of a token.
  expect(join).toBe("flannelctl join 10.0.0.1:2379 --token …");
  const printed = /^.*\bflannelctl join [0-9.]+:2379 --token \S+.*$/m.exec(said)?.[0];
  if (printed === undefined) throw new Error(`init prints no line for other hosts: ${said}`);
  await h2.sh(printed);
}

it("a .deb installs, connects two hosts, is upgraded under traffic, removed and purged", async () => {
  const older = await makePackage("deb", "1.0.0");
  await using resources = new AsyncDisposableStack();
  const {
    hosts: [h1, h2],
  } = await bootTwo(resources, "/");
  for (const host of [h1, h2]) host.place(older);
  await followReadme(h1, h2);
  const pods = [await h1.attachPod(), await h2.attachPod()] as const;
  await untilAllPing(pods);
  await h1.sh("systemd-analyze verify flanneld.service flannel-store.service");
  expect(await h1.sh("man -w 1 flannelctl; man -w 8 flanneld; man -w 8 flannel-store")).toBe(
    ["man1/flannelctl.1.gz", "man8/flanneld.8.gz", "man8/flannel-store.8.gz"]
      .map((path) => `/usr/share/man/${path}\n`)
      .join(""),
  );
  expect(await h1.sh(bashCompletion)).toContain("bugreport");

  await using traffic = await ContinuousPing.start(pods[0].namespace, pods[1].ipv4 ?? "");
  await h2.upgrade(dpkg.install(h2.place(await makePackage("deb", "1.0.1"))));
  await traffic.more(50);
  expect((await traffic.stop()).lost).toEqual([]);
  expect(await h2.sh("cat /usr/lib/flannel/VERSION")).toBe("1.0.1\n");

  // What is removed says what stays: containers talk on.
  const removed = await h2.sh(dpkg.remove);
  expect(removed).toContain("flannelctl cleanup --all");
  expect(removed).toContain("purging the package deletes them");
  expect(await h2.isActive("flanneld")).toBe(false);
  await untilAllPing(pods);
  await h2.sh("dpkg --purge flannel");
  const traces = "ls -d /etc/flannel /etc/default/flannel* /var/lib/flannel* /usr/lib/flannel 2>/dev/null || :";
  expect(await h2.sh(traces)).toBe("");
});
