// An upgrade as it is on hosts with systemd: a cluster made by `flannelctl init` and `join` of the base, whose programs are
// then replaced where they are installed and whose services are restarted; and back.
import { createLan } from "../../lab/lan.ts";
import { carriedWhile } from "../../lab/packet-probe.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { readSubnetEnv } from "../../lab/subnet-env.ts";
import { SystemdHost } from "../../lab/systemd-host.ts";
import type { Build } from "./build.ts";
import { checkHost, checkNotRemade, type HostView, viewHost } from "./host-view.ts";
import type { Report } from "./report.ts";
import type { UpgradeTask } from "./upgrade.ts";

/** On every host: the build in use is mounted here, so that units and files name one place. */
const INSTALLED = "/opt/flannel";
const SUBNET_FILE = "/run/flannel/subnet.env";
/** What `init` and `join` have written. */
const MEMBER_FILES = ["/etc/flannel", "/var/lib/flannel-store/cluster", "/etc/systemd/system"];
/** The device of the udp backend queues 500 packets: enough for a restart of 5 s. */
const EVERY_US = 10_000;
const SLOW = { timeoutMs: 90_000 };

export async function upgradeUnderSystemd({ builds, plan }: UpgradeTask, report: Report): Promise<void> {
  await using resources = new AsyncDisposableStack();
  const lan = resources.use(await createLan({ hosts: 2 }));
  const h1 = resources.use(await SystemdHost.boot(lan.host(1)));
  const h2 = resources.use(await SystemdHost.boot(lan.host(2)));
  const hosts = [h1, h2];
  for (const host of hosts) await install(host, builds.base);
  await makeCluster(h1, h2, plan.config);
  const pods = [await attach(h1), await attach(h2)] as const;
  await untilAllPing(pods);
  const isUdp = (plan.config["Backend"] as { Type?: string }).Type === "udp";
  for (const [step, to] of [
    ["base to new", builds.new],
    ["new to base", builds.base],
  ] as const) {
    const before = await look(hosts);
    const act = async () => {
      for (const host of hosts) await replace(host, to);
    };
    await carryWhile(report, step, pods, act);
    await untilAllPing(pods);
    const after = await look(hosts);
    for (const [index, host] of hosts.entries()) {
      const [was, is] = [before[index], after[index]];
      if (was === undefined || is === undefined) throw new Error("a host was not looked at");
      checkService(report, step, host.host.name, was, is);
      await checkProcess(report, step, host, to, isUdp ? 2 : 0);
    }
    await checkCluster(
      report,
      step,
      h1,
      lan.hosts.map(({ ipv4 }) => ipv4 ?? ""),
    );
  }
}

function checkService(report: Report, step: string, name: string, before: ServiceView, after: ServiceView): void {
  checkHost(report, step, name, before.host, after.host);
  checkNotRemade(report, step, name, before.host, after.host);
  const changed = [...after.memberFiles].filter(([path, digest]) => before.memberFiles.get(path) !== digest);
  const gone = [...before.memberFiles.keys()].filter((path) => !after.memberFiles.has(path));
  const names = [...changed.map(([path]) => path), ...gone.map((path) => `${path} (gone)`)];
  // A build may migrate them; whether the other one can read them shows in the way back.
  const seen = names.length === 0 ? `${after.memberFiles.size} unchanged` : `changed: ${names.join(", ")}`;
  report.note(step, `${name} member files and units`, seen);
}

/** It is the build's, and systemd keeps for it what it needs: of udp device and socket. */
async function checkProcess(
  report: Report,
  step: string,
  host: SystemdHost,
  build: Build,
  descriptors: number,
): Promise<void> {
  const { name } = host.host;
  const file = "dist/flanneld.mjs";
  const process = `/proc/${await show(host, "MainPID")}/root${INSTALLED}`;
  const files = await host.run(["stat", "--format=%d:%i", `${process}/${file}`, `${build.directory}/${file}`]);
  const [own, wanted] = files.trim().split("\n");
  report.check(step, `${name} runs`, own === wanted, own === wanted ? build.name : "another build");
  const kept = await show(host, "NFileDescriptorStore");
  report.check(step, `${name} descriptors kept`, kept === String(descriptors), `${kept} of ${descriptors}`);
  const failed = (await host.run(["systemctl", "--failed", "--quiet", "--plain"])).trim();
  report.check(step, `${name} failed services`, failed === "", failed === "" ? "none" : failed);
}

/** In the host's own mounts; what runs keeps the files that it has open. */
async function install(host: SystemdHost, build: Build): Promise<void> {
  await host.run(["mkdir", "-p", INSTALLED]);
  await host.run(["mount", "--bind", build.directory, INSTALLED]);
}

async function makeCluster(h1: SystemdHost, h2: SystemdHost, config: object): Promise<void> {
  await h1.run(["tee", "/run/net-conf.json"], { input: JSON.stringify(config) });
  const init = ["init", "--name=h1", "--config=/run/net-conf.json", "--json"];
  const { joinCommand } = JSON.parse(await flannelctl(h1, ...init)) as { joinCommand: readonly string[] };
  await h2.run([...joinCommand, "--name=h2"], SLOW);
}

function flannelctl(host: SystemdHost, ...words: readonly string[]): Promise<string> {
  return host.run([`${INSTALLED}/bin/flannelctl`, ...words], SLOW);
}

async function attach(host: SystemdHost): Promise<Pod> {
  const env = await readSubnetEnv(host.file(SUBNET_FILE));
  if (env === undefined) throw new Error(`${host.host.name} has no subnet.env`);
  return attachPod(host.host, env);
}

/** Services say when they are ready, and systemctl waits for it. */
async function replace(host: SystemdHost, build: Build): Promise<void> {
  await install(host, build);
  const hasStore = (await host.tryRun(["systemctl", "is-active", "--quiet", "flannel-store"])).exitCode === 0;
  if (hasStore) await host.run(["systemctl", "restart", "flannel-store"], SLOW);
  await host.run(["systemctl", "restart", "flanneld"], SLOW);
}

/** Both ways at once: no packet may be lost while `act` runs. */
async function carryWhile(
  report: Report,
  step: string,
  [first, second]: readonly [Pod, Pod],
  act: () => Promise<void>,
): Promise<void> {
  const acted = Promise.withResolvers<void>();
  const [out, back] = await Promise.all([
    carriedWhile(first.namespace, second.namespace, second.ipv4 ?? "", EVERY_US, () => acted.promise),
    carriedWhile(second.namespace, first.namespace, first.ipv4 ?? "", EVERY_US, () => act().finally(acted.resolve)),
  ]);
  for (const [way, { sent, arrived }] of [
    ["h1 to h2", out],
    ["h2 to h1", back],
  ] as const) {
    report.check(step, `packets ${way}`, sent > 0 && arrived === sent, `${sent} sent, ${sent - arrived} lost`);
  }
}

interface ServiceView {
  readonly host: HostView;
  /** Path to digest. */
  readonly memberFiles: ReadonlyMap<string, string>;
}

function look(hosts: readonly SystemdHost[]): Promise<readonly ServiceView[]> {
  return Promise.all(
    hosts.map(async (host) => ({
      host: await viewHost((argv, options) => host.run(argv, options), host.file(SUBNET_FILE)),
      memberFiles: await digests(host),
    })),
  );
}

async function digests(host: SystemdHost): Promise<ReadonlyMap<string, string>> {
  // A host without a store has no files of one, which find complains about.
  const found = await host.tryRun(["find", ...MEMBER_FILES, "-type", "f", "-exec", "sha256sum", "{}", "+"]);
  const lines = found.stdout.split("\n").filter((line) => line !== "");
  return new Map(lines.map((line) => [line.replace(/^\S+ +/, ""), line.split(" ")[0] ?? ""]));
}

async function show(host: SystemdHost, property: string): Promise<string> {
  return (await host.run(["systemctl", "show", "--value", `--property=${property}`, "flanneld"])).trim();
}

/** The build in use reads what the other one has written: members, certificates, leases; and hosts can still join. */
async function checkCluster(
  report: Report,
  step: string,
  h1: SystemdHost,
  addresses: readonly string[],
): Promise<void> {
  const leases = await flannelctl(h1, "lease", "list");
  const listed = addresses.filter((address) => leases.includes(address));
  report.check(
    step,
    "leases in the store",
    listed.length === addresses.length,
    `${listed.length} of ${addresses.length}`,
  );
  const members = await flannelctl(h1, "host", "list");
  report.check(
    step,
    "members",
    /\bh1\b/.test(members) && /\bh2\b/.test(members),
    members.trim().replaceAll(/\s+/g, " "),
  );
  const token = await h1.tryRun([`${INSTALLED}/bin/flannelctl`, "token", "create"], SLOW);
  const canJoin = token.exitCode === 0 && token.stdout.includes("flannelctl join");
  report.check(step, "token for a further host", canJoin, canJoin ? "created" : token.stderr.trim());
}
