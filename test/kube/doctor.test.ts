// `flannelctl doctor` on a node of a real API server: each thing that its Node or its rights lack is named first and alone, and
// an API server that is away is said to be away.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { tryRun } from "../../lab/command.ts";
import { flannelRules, KubernetesApi, type PolicyRule, type ServiceAccount } from "../../lab/kubernetes/api-server.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { until } from "../../lab/wait.ts";
import { type DoctorOutput, doctorOutputSchema } from "../../src/cli/flannelctl/session/doctor-output.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));
const vxlan = { Network: "10.244.0.0/16", Backend: { Type: "vxlan" } };

let lan: Lan;
let api: KubernetesApi;
let account: ServiceAccount;
let kubeconfig: string;
let agent: LabAgent;

const configFile = () => join(lan.host(1).runDirectory, "net-conf.json");

beforeAll(async () => {
  lan = await createLan({ hosts: 1 });
  api = await KubernetesApi.start({});
  account = await api.createServiceAccount("kube-flannel", "flannel", flannelRules);
  kubeconfig = await api.kubeconfigOfAccount(account, api.serverAddress);
  await mkdir(lan.host(1).runDirectory, { recursive: true });
  await writeFile(configFile(), JSON.stringify(vxlan));
});

afterEach(async () => {
  await agent?.[Symbol.asyncDispose]();
  await api.grant(account, flannelRules);
  for (const name of ["h1", "p2"]) await api.deleteNode(name).catch(() => undefined);
  const { namespace, runDirectory } = lan.host(1);
  await namespace.tryRun(["ip", "link", "del", "flannel.1"]);
  await rm(join(runDirectory, "state"), { recursive: true, force: true });
});

afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await lan[Symbol.asyncDispose]();
});

function start(): LabAgent {
  const args = ["--kube-subnet-mgr", `--kubeconfig-file=${kubeconfig}`, `--net-config-path=${configFile()}`];
  agent = LabAgent.start(lan.host(1), { args, env: { NODE_NAME: "h1" } });
  return agent;
}

async function doctor(
  config = kubeconfig,
): Promise<{ codes: readonly string[]; output: DoctorOutput; evidence: string | undefined }> {
  const { directory, subnetFile, host } = agent;
  const files = [`--subnet-file=${subnetFile}`, `--state-dir=${directory}/state`, `--cni-state-dir=${directory}/cni`];
  const argv = [
    "env",
    "NODE_NAME=h1",
    flannelctl,
    ...files,
    `--kubeconfig=${config}`,
    "--json",
    "doctor",
    "--timeout=30",
  ];
  const { stdout, stderr } = await tryRun(host.namespace.command(argv));
  if (stdout === "") throw new Error(stderr);
  const output = doctorOutputSchema.parse(JSON.parse(stdout));
  return { codes: output.findings.map(({ code }) => code), output, evidence: output.findings[0]?.evidence[0]?.value };
}

async function expectNamed(codes: readonly string[], evidence?: RegExp): Promise<void> {
  const found = await doctor();
  expect(found.codes, JSON.stringify([found.output.findings, found.output.unknown], undefined, 1)).toEqual(codes);
  if (evidence !== undefined) expect(found.evidence).toMatch(evidence);
}

it("a Node in order has no finding; then a foreign annotation, a condition and rights are named", async () => {
  await api.createNode("h1", { podCidrs: ["10.244.1.0/24"] });
  await start().untilReady();
  await expectNamed([]);

  // The running agent would put its own annotation back.
  process.kill(agent.pid, "SIGSTOP");
  await api.annotateNode("h1", { "flannel.alpha.coreos.com/public-ip": "192.168.50.99" });
  const condition = { type: "NetworkUnavailable", status: "True", reason: "NoRouteCreated", message: "no route" };
  await api.client.patch("/api/v1/nodes/h1/status", { status: { conditions: [condition] } });
  const { codes, output } = await doctor();
  expect(codes, JSON.stringify(output.findings, undefined, 1)).toEqual(["kube-access"]);
  const told = output.findings[0]?.evidence.map(({ value }) => value).join("\n");
  expect(told).toMatch(/announces the public IP 192\.168\.50\.99/);
  expect(told).toMatch(/the condition NetworkUnavailable \(NoRouteCreated: no route\)/);
  process.kill(agent.pid, "SIGCONT");
  await until(async () => (await doctor()).codes.length === 0, { what: "the agent's own annotation" });

  await api.grant(account, without("list"));
  await until(async () => (await doctor()).codes.length > 0, { what: "the right to be away" });
  await expectNamed(["kube-access"], /allow the verb "list" on "nodes" in the ClusterRole of flannel/);
  // Whose credentials these are is not known, and the doctor needs no watch.
  await api.grant(account, without("watch"));
  await until(async () => (await doctor()).codes.length === 0, { what: "the right to list" });
});

function without(verb: string): PolicyRule[] {
  const rules = flannelRules.map((rule) => ({ ...rule, verbs: rule.verbs.filter((one) => one !== verb) }));
  return rules.filter(({ verbs }) => verbs.length > 0);
}

it("a Node without podCIDR, with one outside of the network, and none at all", async () => {
  start();
  await agent.untilEvent("agent.starting");
  await expectNamed(["kube-access"], /h1/);
  await api.createNode("h1", { podCidrs: [] });
  await expectNamed(["kube-podcidr"], /h1 has no podCIDR; no Node has one/);
  await api.createNode("p2", { podCidrs: ["10.244.2.0/24"] });
  await expectNamed(["kube-podcidr"], /h1 has no podCIDR; others have/);
  await api.deleteNode("h1");
  await api.createNode("h1", { podCidrs: ["10.245.1.0/24"] });
  await expectNamed(["kube-podcidr"], /10\.245\.1\.0\/24 of the Node h1 is not in flannel's Network/);
});

it("an API server that is away is no Node without podCIDR", async () => {
  await api.createNode("h1", { podCidrs: ["10.244.1.0/24"] });
  await start().untilReady();
  const text = await readFile(kubeconfig, "utf8");
  const away = join(lan.host(1).runDirectory, "away");
  await writeFile(away, text.replace(/(192\.168\.50\.1):\d+/, "$1:9"));
  // The agent hears from it: one question that fails is no outage.
  expect((await doctor(away)).codes).toEqual([]);
  await agent.kill9();
  const { codes, output } = await doctor(away);
  expect(codes, JSON.stringify(output.findings)).toEqual(["store-unreachable"]);
});
