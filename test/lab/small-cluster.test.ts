// A network in a minute: `flannelctl init` on one host, `join` on each other, and what runs is what they print. What goes
// wrong is said before anything is written, and what was killed half-way is completed by running it again.
import { stat } from "node:fs/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createLan, type Lan } from "../../lab/lan.ts";
import { MemberHost } from "../../lab/member-host.ts";
import { attachPod } from "../../lab/pod.ts";
import { ping, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";

let lan: Lan;
let resources: AsyncDisposableStack;

beforeEach(async () => {
  resources = new AsyncDisposableStack();
  lan = resources.use(await createLan({ hosts: 3 }));
});

afterEach(() => resources.disposeAsync());

function member(number: number): MemberHost {
  return resources.use(new MemberHost(lan.host(number)));
}

async function modeOf(host: MemberHost, path: string): Promise<string> {
  return ((await stat(host.file(path))).mode & 0o777).toString(8);
}

async function peersOf(host: MemberHost): Promise<number> {
  return (await host.agent.status()).peers.programmed;
}

it("three hosts in three commands; one is removed, and comes back with a new token", async () => {
  const [h1, h2, h3] = [member(1), member(2), member(3)];
  const joinCommand = await h1.init();
  expect(await modeOf(h1, "var/lib/flannel-store/cluster")).toBe("700");
  for (const name of ["ca-key", "server-key", "admin-key"]) {
    expect(await modeOf(h1, `var/lib/flannel-store/cluster/${name}.pem`)).toBe("600");
  }
  await h1.startStore();
  h1.startAgent();
  await h2.join(joinCommand);
  await h3.join(await h1.createToken());
  expect(await modeOf(h3, "etc/flannel/host-key.pem")).toBe("600");
  for (const host of [h2, h3]) host.startAgent();
  for (const host of [h1, h2, h3]) await host.agent.untilReady({ peers: 2 });
  const pods = await Promise.all(
    [h1, h2, h3].map(async (host) => attachPod(host.host, await host.agent.untilSubnetEnv())),
  );
  await untilAllPing(pods);
  // At 3 a.m. on any host, without a flag about the store.
  for (const { host } of [h1, h2, h3]) expect(await h3.ctl("lease", "list")).toContain(host.ipv4);
  expect(await h2.ctl("status")).toMatch(/certificates +our own ends in 364 d/);

  expect(await h1.ctl("host", "remove", "h3")).toContain("10.5.");
  await until(async () => (await peersOf(h1)) === 1 && (await peersOf(h2)) === 1, { what: "the others to forget h3" });
  expect(await ping(pods[0]!.namespace, pods[2]!.ipv4 ?? "")).toBeUndefined();
  expect(await h3.tryCtl("lease", "list")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("refused") });
  await h3.agent.term();
  h3.startAgent();
  await h3.agent.untilEvent("config.unavailable");
  const status = await h3.agent.status();
  expect(status.ready).toBe(false);
  expect(status.reasons.join()).toContain("refused");

  // The agent takes up what joining again has written, without being started again.
  await h3.join(await h1.createToken());
  h3.agent.signal("SIGHUP");
  for (const host of [h1, h2, h3]) await host.agent.untilReady({ peers: 2 });
  await untilAllPing(pods);
});
