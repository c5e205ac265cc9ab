// The first host of a small cluster is lost for good: another machine takes its address, and the commands of
// docs/embedded-store.md bring the store back under it while the other hosts go on.
import { mkdir, rm, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createLan, type Lan } from "../../lab/lan.ts";
import { MemberHost } from "../../lab/member-host.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { ContinuousPing, ping, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";

const network = "10.7.0.0/16";
const address = "192.168.50.11";
const saved = "/run/saved";

let lan: Lan;
let resources: AsyncDisposableStack;

beforeEach(async () => {
  resources = new AsyncDisposableStack();
  lan = resources.use(await createLan({ hosts: 4 }));
  resources.defer(() => rm(saved, { recursive: true, force: true }));
});

afterEach(() => resources.disposeAsync());

function member(number: number): MemberHost {
  return resources.use(new MemberHost(lan.host(number)));
}

async function podOf(member: MemberHost): Promise<Pod> {
  return attachPod(member.host, await member.agent.untilSubnetEnv());
}

async function namesOf(member: MemberHost): Promise<string[]> {
  const { hosts } = JSON.parse(await member.ctl("host", "list", "--json"));
  return hosts.map(({ name }: { name: string }) => name);
}

async function leasesOf(member: MemberHost): Promise<string[]> {
  const { leases } = JSON.parse(await member.ctl("lease", "list", "--json"));
  return leases.map(({ subnet }: { subnet: string }) => subnet);
}

async function subnetOf(member: MemberHost): Promise<string | undefined> {
  return (await member.agent.status()).lease?.subnet;
}

/** h1 keeps the store, h2 and h3 have joined; its cluster directory and its keys are saved elsewhere. */
async function startAndSave() {
  const [h1, h2, h3] = [member(1), member(2), member(3)];
  const joinCommand = await h1.init("--network", network);
  await h1.startStore();
  await h2.join(joinCommand);
  await h3.join(await h1.createToken());
  for (const host of [h1, h2, h3]) host.startAgent();
  for (const host of [h1, h2, h3]) await host.agent.untilReady({ peers: 2 });
  const pods = await Promise.all([h2, h3].map(podOf));
  await untilAllPing(pods);
  await boxNamespace.run(["mkdir", "-p", saved]);
  await h1.ctl("store", "backup", `${saved}/store.json`);
  await boxNamespace.run(["cp", "-a", h1.file("var/lib/flannel-store/cluster"), `${saved}/cluster`]);
  return { h1, h2, h3, pods: [pods[0]!, pods[1]!] as const };
}

/** Nothing of h1 is left; h4 gets its address, and the saved directory. */
async function replace(h1: MemberHost): Promise<MemberHost> {
  await h1[Symbol.asyncDispose]();
  await h1.host.namespace.ip("link", "set", "dev", "eth0", "down");
  const h4 = member(4);
  const { namespace } = h4.host;
  await namespace.ipBatch([
    "addr flush dev eth0 scope global",
    `addr add ${address}/24 dev eth0`,
    `route replace default via ${lan.storeAddress}`,
  ]);
  // As a machine does that boots: it tells the LAN whose the address is now.
  for (const { ipv4 = "" } of [lan.host(2), lan.host(3)]) await ping(namespace, ipv4);
  await namespace.run(["mkdir", "-p", h4.file("var/lib/flannel-store")]);
  await namespace.run(["cp", "-a", `${saved}/cluster`, h4.file("var/lib/flannel-store/cluster")]);
  return h4;
}

async function expectWhole(h4: MemberHost, others: readonly MemberHost[], pods: readonly Pod[]): Promise<void> {
  await h4.agent.untilReady();
  for (const host of others) await host.agent.untilReady();
  await untilAllPing([await podOf(h4), ...pods]);
}

it("copy and backup put back: the others go on as they are, with their subnets, and lose no packet", async () => {
  const { h1, h2, h3, pods } = await startAndSave();
  const lostSubnet = await subnetOf(h1);
  const before = [await subnetOf(h2), await subnetOf(h3)];
  await using pings = await ContinuousPing.start(pods[0].namespace, pods[1].ipv4 ?? "");
  const h4 = await replace(h1);
  expect(await h4.tryCtl("init", "--no-systemd", "--name", "h1", "--network", network)).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("give this host another --name"),
  });
  await h4.init("--network", network);
  await h4.startStore();
  // Beyond what is chosen from by chance: it could be the lost host's.
  await mkdir(h4.file("run/flannel"), { recursive: true });
  await writeFile(h4.file("run/flannel/subnet.env"), `FLANNEL_NETWORK=${network}\nFLANNEL_SUBNET=10.7.200.1/24\n`);
  h4.startAgent();
  // As with systemd, where all this takes longer: the others have come back before.
  await until(async () => (await leasesOf(h4)).length === 3, { what: "all to have a lease again" });
  await h4.ctl("store", "import", `${saved}/store.json`, "--keep-leases");
  expect(await subnetOf(h4)).toBe("10.7.200.0/24");
  await expectWhole(h4, [h2, h3], pods);
  const { lost } = await pings.stop();
  expect(lost).toEqual([]);
  expect([await subnetOf(h2), await subnetOf(h3)]).toEqual(before);
  expect(await namesOf(h4)).toEqual(["h1", "h2", "h3", "h4"]);
  // Its lease came back with the backup, and announces the address that is h4's now: only a person can tell them apart.
  expect(await leasesOf(h4)).toContain(lostSubnet);
  expect(await h4.ctl("host", "remove", "h1")).toContain("flannelctl lease release LEASE --force");
  await h4.ctl("lease", "release", lostSubnet ?? "", "--force");
  expect((await leasesOf(h4)).toSorted()).toEqual([...before, await subnetOf(h4)].toSorted());
  expect(await namesOf(h4)).toEqual(["h2", "h3", "h4"]);
  await untilAllPing([...pods]);
});

it("only the copy put back: every host takes its subnet again, and one removed after the copy is removed again", async () => {
  const { h1, h2, h3, pods } = await startAndSave();
  const before = [await subnetOf(h2), await subnetOf(h3)];
  await h1.ctl("host", "remove", "h3");
  const h4 = await replace(h1);
  await h4.init("--network", network);
  await h4.startStore();
  h4.startAgent();
  // The copy knows nothing of the removal.
  await expectWhole(h4, [h2, h3], pods);
  expect([await subnetOf(h2), await subnetOf(h3)]).toEqual(before);
  await h4.ctl("host", "remove", "h3");
  await until(async () => (await ping(pods[0].namespace, pods[1].ipv4 ?? "")) === undefined, { what: "h3 to be gone" });
  expect(await h3.tryCtl("lease", "list")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("refused") });
  expect(await namesOf(h4)).toEqual(["h1", "h2", "h4"]);
});
