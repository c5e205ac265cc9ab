// flanneld --kube-subnet-mgr behind a proxy that goes wrong, on a host with a wrong clock, and beside another agent that
// claims its Node: the API server is a real one. What it promises: routes stay, changes are made up for, causes are named.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { LabAgent } from "../../../lab/agent.ts";
import { routes } from "../../../lab/kernel-view.ts";
import { flannelRules, KubernetesApi, type ServiceAccount } from "../../../lab/kubernetes/api-server.ts";
import { FaultProxy } from "../../../lab/kubernetes/fault-proxy.ts";
import { createLan, type Lan } from "../../../lab/lan.ts";
import { until, untilLines } from "../../../lab/wait.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const prefix = "flannel.alpha.coreos.com/";

let lan: Lan;
let api: KubernetesApi;
let account: ServiceAccount;
let proxy: FaultProxy;
const agents = new Set<LabAgent>();
const nodes = new Set<string>();

beforeAll(async () => {
  lan = await createLan({ hosts: 2 });
  api = await KubernetesApi.start();
  account = await api.createServiceAccount("kube-flannel", "flannel", flannelRules);
  proxy = await FaultProxy.start(api, "192.168.50.1", 7443);
});

afterEach(async () => {
  proxy.faults = {};
  for (const agent of agents) await agent[Symbol.asyncDispose]();
  agents.clear();
  for (const name of nodes) await api.deleteNode(name).catch(() => undefined);
  nodes.clear();
  for (const { namespace, runDirectory } of lan.hosts) {
    const links = await namespace.ipJson("link", "show");
    const ours = links.map(({ ifname }) => String(ifname)).filter((name) => name.startsWith("flannel"));
    await namespace.ipBatch(ours.map((name) => `link del dev ${name}`));
    await rm(runDirectory, { recursive: true, force: true });
  }
});

afterAll(async () => {
  await proxy?.[Symbol.asyncDispose]();
  await api?.[Symbol.asyncDispose]();
  await lan?.[Symbol.asyncDispose]();
});

interface StartOptions {
  /** Default: the proxy. */
  readonly server?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** In place of one that lives for an hour. */
  readonly tokenFile?: string;
}

async function start(host: number, options: StartOptions = {}): Promise<LabAgent> {
  const { runDirectory } = lan.host(host);
  await mkdir(runDirectory, { recursive: true });
  const config = { Network: "10.244.0.0/16", Backend: { Type: "vxlan" } };
  await writeFile(join(runDirectory, "net-conf.json"), JSON.stringify(config));
  const kubeconfig = join(runDirectory, "kubeconfig");
  const made = await api.kubeconfigOfAccount(account, options.server ?? proxy.url);
  const parsed = JSON.parse(await readFile(made, "utf8")) as { users: { user: object }[] };
  const { tokenFile } = options;
  if (tokenFile !== undefined) parsed.users = parsed.users.map((entry) => ({ ...entry, user: { tokenFile } }));
  await writeFile(kubeconfig, JSON.stringify(parsed));
  const args = [
    ...["--kube-subnet-mgr", `--kubeconfig-file=${kubeconfig}`],
    `--net-config-path=${join(runDirectory, "net-conf.json")}`,
  ];
  const agent = LabAgent.start(lan.host(host), { args, env: { NODE_NAME: "h1", ...options.env } });
  agents.add(agent);
  return agent;
}

async function createPeer(number: number): Promise<void> {
  const annotations = {
    [`${prefix}kube-subnet-manager`]: "true",
    [`${prefix}backend-type`]: "vxlan",
    [`${prefix}backend-data`]: `{"VNI":1,"VtepMAC":"1a:00:00:00:00:${number.toString(16)}"}`,
    [`${prefix}public-ip`]: `192.168.50.${number}`,
  };
  nodes.add(`p${number}`);
  await api.createNode(`p${number}`, { podCidrs: [`10.244.${number}.0/24`], annotations });
}

async function createOwnNode(): Promise<void> {
  nodes.add("h1");
  await api.createNode("h1", { podCidrs: ["10.244.1.0/24"] });
}

const peersAre = (numbers: readonly number[], what: string) =>
  untilLines(
    () => routes(lan.host(1).namespace, "dev", "flannel.1"),
    numbers.map((number) => `10.244.${number}.0/24 via 10.244.${number}.0 onlink`),
    { what },
  );

it("a watch that is cut in the middle of an event: goes on from before it, nothing is missed", async () => {
  await createOwnNode();
  await createPeer(101);
  const agent = await start(1);
  await agent.untilReady();
  await peersAre([101], "the first peer");
  expect(proxy.cutWatches()).toBe(1);
  const before = proxy.seen.length;
  await createPeer(102);
  await api.deleteNode("p101");
  await createPeer(103);
  await peersAre([102, 103], "the peers after the cut");
  // Not all Nodes again: the watch went on from where it was.
  expect(proxy.seen.slice(before).filter((call) => /^GET .*limit=250/.test(call))).toEqual([]);
});

it("410 Gone: lists again, and removes what went meanwhile", async () => {
  await createOwnNode();
  for (const number of [101, 102]) await createPeer(number);
  await (await start(1)).untilReady();
  await peersAre([101, 102], "the peers");
  const gone = {
    kind: "Status",
    apiVersion: "v1",
    status: "Failure",
    reason: "Expired",
    code: 410,
    message: "too old",
  };
  proxy.faults = { of: /watch=/, answer: { status: 410, body: JSON.stringify(gone) } };
  proxy.dropAll();
  await api.deleteNode("p101");
  await createPeer(103);
  await peersAre([102, 103], "the peers that are left, from a list");
  proxy.faults = {};
  await createPeer(104);
  await peersAre([102, 103, 104], "a peer that the new watch tells of");
});

it.each([
  [500, "a text"],
  [503, '{"kind":"Status","message":"etcdserver: leader changed","code":503}'],
  [502, "<html><body>Bad Gateway</body></html>"],
  [429, '{"kind":"Status","message":"too many requests","code":429}'],
  [200, "{}"],
])("answers HTTP %d for a time: routes stay, the reason is shown, changes are made up for", async (status, body) => {
  await createOwnNode();
  for (const number of [101, 102]) await createPeer(number);
  const agent = await start(1);
  await agent.untilReady();
  await peersAre([101, 102], "the peers");
  const before = proxy.seen.length;
  proxy.faults = { answer: { status, body } };
  proxy.dropAll();
  await agent.untilEvent("store.disconnected");
  await api.deleteNode("p101");
  await until(() => proxy.seen.length >= before + 4, { what: "some attempts" });
  expect(await routes(lan.host(1).namespace, "dev", "flannel.1")).toHaveLength(2);
  expect((await agent.status()).store.connected).toBe(false);
  proxy.faults = {};
  await peersAre([102], "the peer that is left");
});

it("an API server that takes two seconds for each answer", async () => {
  await createOwnNode();
  await createPeer(101);
  proxy.faults = { delayMs: 2_000 };
  const agent = await start(1);
  await agent.untilReady();
  await peersAre([101], "the peer");
  await createPeer(102);
  await peersAre([101, 102], "the second peer");
});

it("a token that expires while it runs: routes stay, and another one in the file is taken", async () => {
  await createOwnNode();
  await createPeer(101);
  const tokenFile = join("/run", "expiring-token");
  await writeFile(tokenFile, await api.token(account, 3_600));
  const agent = await start(1, { tokenFile });
  await agent.untilReady();
  await peersAre([101], "the peer");
  await writeFile(tokenFile, await api.token(account, -120));
  const unauthorized = { kind: "Status", code: 401, message: "Unauthorized" };
  proxy.faults = { answer: { status: 401, body: JSON.stringify(unauthorized) } };
  proxy.dropAll();
  await agent.untilEvent("store.disconnected");
  await createPeer(102);
  proxy.faults = {};
  // The API server itself refuses the old one now.
  expect(await routes(lan.host(1).namespace, "dev", "flannel.1")).toHaveLength(1);
  await writeFile(tokenFile, await api.token(account));
  await peersAre([101, 102], "both peers");
});

it.each([
  ["half a day ahead", 0.5, undefined],
  ["a month ahead", 30, "check the clock of this host"],
])("a clock %s", async (_, offsetDays, complaint) => {
  await createOwnNode();
  await createPeer(101);
  const clock = await FakeClock.create();
  await clock.set(offsetDays * 86_400_000);
  // Over TLS: certificates are what a clock decides about.
  const agent = await start(1, { env: clock.env, server: api.serverAddress });
  if (complaint === undefined) {
    await agent.untilReady();
    await peersAre([101], "the peer");
  } else expect(await agent.untilEvent("lease.unavailable")).toContain(complaint);
});

it("two agents on one Node: both say so, and do not fight without end", async () => {
  await createOwnNode();
  const before = proxy.seen.length;
  const [first, second] = [await start(1), await start(2)];
  const conflict = "keeps changing flannel's annotations";
  for (const agent of [first, second]) {
    await until(async () => JSON.stringify(await agent.status()).includes(conflict), {
      what: "the conflict in the status",
      timeoutMs: 120_000,
    });
  }
  const patches = proxy.seen.slice(before).filter((call) => /^PATCH .*\/status/.test(call));
  expect(patches.length).toBeLessThan(20);
});
