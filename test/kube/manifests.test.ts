// What people apply: the manifests, the kustomize overlays and the Helm chart, by the programs that they apply them with. A
// real API server says whether it would take the objects, this flannel's own parsers whether it would take the rest.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { run } from "../../lab/command.ts";
import { KubernetesApi } from "../../lab/kubernetes/api-server.ts";
import {
  chart,
  checkout,
  filesFromChart,
  helmCommand,
  overlayNames,
  overlays,
  renderChart,
  tryRenderChart,
  valueSets,
  valuesOf,
} from "../../lab/kubernetes/chart.ts";
import { kubernetesProgram } from "../../lab/kubernetes/program.ts";
import { makeChart } from "../../packaging/chart-package.ts";
import { backends } from "../../src/backend/registry.ts";
import { flanneldFlags } from "../../src/cli/flags/flanneld-flag-table.ts";
import { renderCniConflist } from "../../src/lease/cni-conflist.ts";
import { version } from "../../src/version.ts";
import { TemporaryDirectory } from "../support/flannelctl.ts";
import { podMonitorDefinition } from "./fixtures/pod-monitor.ts";

interface KubernetesObject {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: { readonly template?: { readonly spec: PodSpec } };
}

interface PodSpec {
  readonly containers: readonly {
    readonly name: string;
    readonly image: string;
    readonly args?: readonly string[];
    readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
  }[];
  readonly initContainers?: readonly { readonly name: string; readonly args?: readonly string[] }[];
  readonly volumes: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[];
}

let api: KubernetesApi;
const rendered = new Map<string, string>();

beforeAll(async () => {
  const [started] = await Promise.all([
    KubernetesApi.start(),
    Promise.all(
      valueSets().map(async (set) => {
        rendered.set(set, await renderChart([`--values=${valuesOf(set)}`]));
      }),
    ),
  ]);
  api = started;
  await api.kubectl(
    ["apply", "--validate=strict", "-f", "-"],
    `${podMonitorDefinition}---\n${await manifestText("kube-flannel.yml")}`,
  );
});

afterAll(() => api?.[Symbol.asyncDispose]());

function manifestText(name: string): Promise<string> {
  return readFile(join(checkout, "deploy/kubernetes", name), "utf8");
}

function objectsIn(text: string): readonly KubernetesObject[] {
  return parseAllDocuments(text).map((document) => document.toJS() as KubernetesObject);
}

function objectOf(set: string, kind: string): KubernetesObject {
  const found = objectsIn(rendered.get(set) ?? "").filter((object) => object?.kind === kind);
  expect(found, `${kind} of ${set}`).toHaveLength(1);
  return found[0]!;
}

function agentOf(set: string) {
  const { containers, ...pod } = objectOf(set, "DaemonSet").spec!.template!.spec;
  return { ...pod, agent: containers.find(({ name }) => name === "kube-flannel")! };
}

const withAgent = () => valueSets().filter((set) => set !== "cleanup");

/** What the API server says of the objects, each once, if it would not take all of them. */
async function refusalOf(texts: Iterable<string>): Promise<string> {
  const documents = new Set([...texts].flatMap((text) => text.split(/^---$/m)));
  const words = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
  return (await api.tryKubectl(words, [...documents].join("\n---\n"))).stderr;
}

test("manifests and overlays are what the chart makes: node scripts/write-kube-manifests.ts", async () => {
  const files = await filesFromChart();
  for (const [path, text] of files) expect(await readFile(join(checkout, path), "utf8"), path).toBe(text);
});

test("helm lint finds nothing, with any set of values", async () => {
  for (const set of valueSets()) {
    const said = await run(helmCommand(["lint", "--strict", chart, `--values=${valuesOf(set)}`]));
    expect(said, set).toContain("1 chart(s) linted, 0 chart(s) failed");
    expect(said, set).not.toMatch(/WARNING|ERROR/);
  }
});

test("the chart as one file makes what its directory makes, and runs the image of its version", async () => {
  using directory = new TemporaryDirectory();
  const [archive = "", ...manifests] = makeChart("0.1.0~dev7.gabcdef", directory.path);
  const made = await run(helmCommand(["template", "flannel", archive, "--namespace=kube-flannel"]));
  const withTag = await renderChart(["--set=flannel.image.tag=0.1.0-dev7.gabcdef"]);
  expect(objectsIn(made)).toEqual(objectsIn(withTag));
  for (const file of manifests) expect(await readFile(file, "utf8")).toContain("image: flannel:0.1.0-dev7.gabcdef\n");
  const again = await readFile(archive);
  makeChart("0.1.0~dev7.gabcdef", directory.path);
  expect((await readFile(archive)).equals(again)).toBe(true);
});

test("the API server takes what the chart makes of each set of values, strictly", async () => {
  expect(await refusalOf([...rendered.values(), await manifestText("kube-flannel-cleanup.yml")])).toBe("");
  const broken = (rendered.get("default") ?? "").replace("hostNetwork", "hostNetwrk");
  expect(await refusalOf([broken])).toContain('unknown field "spec.template.spec.hostNetwrk"');
});

test("each kustomize overlay makes what the chart makes of the values with its name", async () => {
  const kustomize = async (directory: string) =>
    objectsIn(await run([kubernetesProgram("kubectl"), "kustomize", directory]));
  const byName = (objects: readonly KubernetesObject[]) =>
    new Map(objects.map((it) => [`${it.kind} ${it.metadata.name}`, it]));
  expect(overlayNames()).toEqual(["dual-stack", "host-gw", "ipv6-only", "nftables", "wireguard"]);
  for (const name of overlayNames()) {
    const objects = await kustomize(join(overlays, name));
    const chosen = byName(objects.filter(({ kind }) => kind !== "Namespace"));
    expect(chosen, name).toEqual(byName(objectsIn(rendered.get(name) ?? "")));
  }
});

test("the agent takes the network configuration of each set of values without a warning", () => {
  const known = new Set(backends.modules.map(({ type }) => type));
  for (const set of withAgent()) {
    const text = objectOf(set, "ConfigMap").data!["net-conf.json"]!;
    const { Backend } = JSON.parse(text) as { Backend: { Type: string } };
    if (!known.has(Backend.Type)) continue;
    const { warnings } = backends.withGivenSubnets().parseConfig(text);
    // What only Windows uses: upstream's agent takes no notice of it on Linux, either.
    expect(
      warnings.filter(({ message }) => !message.includes("MacPrefix")),
      set,
    ).toEqual([]);
  }
  const options = JSON.parse(objectOf("vxlan-options", "ConfigMap").data!["net-conf.json"]!);
  expect(options).toEqual({
    Network: "10.244.0.0/16",
    EnableNFTables: false,
    MasqueradeExclude: ["192.168.0.0/16"],
    Backend: { Type: "vxlan", DirectRouting: true, GBP: true, MTU: 1400, Port: 4789, VNI: 16777215 },
  });
  const wireguard = JSON.parse(objectOf("wireguard-options", "ConfigMap").data!["net-conf.json"]!);
  expect(wireguard.Backend).toEqual({
    ...{ Type: "wireguard", ListenPort: 51820, ListenPortV6: 51822, MTU: 1420, Mode: "separate" },
    ...{ PSK: "MFBtZlh0L0h1Z2Vub2N0b3B1c3dhc2hlcmUxMjM0NTY=", PersistentKeepaliveInterval: 25 },
  });
  expect(JSON.parse(objectOf("ipv6-only", "ConfigMap").data!["net-conf.json"]!)).toMatchObject({
    ...{ EnableIPv4: false, EnableIPv6: true, IPv6Network: "fd00:244::/56" },
  });
});

test("the agent knows each flag that the chart gives it, and takes its template of the CNI configuration", () => {
  const known = new Set(flanneldFlags.map(({ name }) => name));
  for (const set of withAgent()) {
    const flags = (agentOf(set).agent.args ?? []).map((arg) => /^--([^=]+)/.exec(arg)?.[1] ?? arg);
    expect(
      flags.filter((flag) => !known.has(flag)),
      set,
    ).toEqual([]);
    expect(flags, set).toContain("kube-subnet-mgr");
    const template = objectOf(set, "ConfigMap").data!["cni-conf.json"]!;
    const { config } = backends
      .withGivenSubnets()
      .parseConfig('{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}');
    const content = { config, subnets: { subnet: "10.244.1.0/24" }, mtuBytes: 1450, ipMasq: true } as never;
    expect(renderCniConflist(template, content), set).toContain('"10.244.1.0/24"');
  }
});

test("names are upstream's, so that one replaces the other", () => {
  const names = objectsIn(rendered.get("default") ?? "").map(
    ({ kind, metadata }) => `${kind} ${metadata.namespace ?? ""}/${metadata.name}`,
  );
  expect(names.sort()).toEqual([
    "ClusterRole /flannel",
    "ClusterRoleBinding /flannel",
    "ConfigMap kube-flannel/kube-flannel-cfg",
    "DaemonSet kube-flannel/kube-flannel-ds",
    "ServiceAccount kube-flannel/flannel",
  ]);
  expect(objectOf("default", "DaemonSet").spec).toMatchObject({
    selector: { matchLabels: { app: "flannel", "k8s-app": "flannel" } },
    template: { metadata: { labels: { app: "flannel", "k8s-app": "flannel", tier: "node" } } },
  });
});

test("values reach the objects, own ones before common ones", () => {
  const objects = objectsIn(rendered.get("objects") ?? "");
  for (const { kind, metadata } of objects.filter((object) => object.kind !== "Namespace")) {
    expect(metadata.labels, kind).toMatchObject({ team: "network", overridden: "own" });
    expect(metadata.annotations, kind).toMatchObject({ "example.org/owner": "network", "example.org/own": "yes" });
  }
  const { template } = objectOf("objects", "DaemonSet").spec as never as {
    template: { metadata: { labels: object; annotations: object }; spec: object };
  };
  // The selector's labels are nobody's to change.
  expect(template.metadata.labels).toMatchObject({ app: "flannel", pod: "yes", team: "network" });
  expect(template.metadata.annotations).toMatchObject({ "example.org/pod": "yes" });
  expect(template.spec).toMatchObject({
    imagePullSecrets: [{ name: "registry" }],
    nodeSelector: { "example.org/network": "flannel" },
    priorityClassName: "system-cluster-critical",
    tolerations: [{ key: "example.org/dedicated", operator: "Exists" }],
  });
  const { agent, volumes } = agentOf("objects");
  expect(agent).toMatchObject({
    image: "registry.example.org/flannel:v2",
    imagePullPolicy: "Always",
    resources: { limits: { memory: "200Mi" } },
    livenessProbe: { initialDelaySeconds: 10, periodSeconds: 30, httpGet: { port: 8082 } },
  });
  expect(agent.args).toEqual(expect.arrayContaining(["--iface=eth1", "--healthz-port=8082"]));
  expect(volumes.find(({ name }) => name === "cni")?.hostPath?.path).toBe("/var/lib/cni/net.d");
  // The agent sees it by its name on the node, which is what it tells systemd.
  expect(agent.args).toContain("--cni-conf-file=/var/lib/cni/net.d/10-flannel.conflist");
  expect(agent.volumeMounts).toContainEqual({ name: "cni", mountPath: "/var/lib/cni/net.d" });
});

test("what is switched off leaves nothing behind, and what is switched on is whole", () => {
  const bare = agentOf("bare").agent;
  for (const key of ["startupProbe", "livenessProbe", "readinessProbe", "resources"])
    expect(bare).not.toHaveProperty(key);
  expect(bare.args?.join(" ")).not.toMatch(/healthz|boot/);
  expect(JSON.stringify(objectOf("bare", "DaemonSet"))).not.toContain("tmpfiles.d");
  const { agent, initContainers, volumes } = agentOf("plugin");
  expect(agent.args?.join(" ")).not.toContain("cni");
  expect(volumes.filter(({ name }) => /^cni(-boot)?$/.test(name))).toEqual([]);
  expect(initContainers).toMatchObject([{ command: ["cp"], args: ["-f", "/flannel", "/opt/cni/bin/flannel"] }]);
  expect(volumes.find(({ name }) => name === "cni-plugin")?.hostPath?.path).toBe("/var/lib/cni/bin");
  expect(agentOf("udp").agent).toMatchObject({ securityContext: { privileged: true } });
  expect(agentOf("metrics").agent.args).toContain("--metrics-addr=[::]:9102");
  expect(agentOf("metrics").agent).toMatchObject({ ports: [{ name: "metrics", containerPort: 9102 }] });
  expect(objectOf("metrics", "PodMonitor").metadata.labels).toMatchObject({ release: "prometheus" });
  expect(objectOf("netpol", "DaemonSet").spec?.template?.spec.containers.map(({ name }) => name)).toEqual([
    "kube-flannel",
    "kube-network-policies",
  ]);
});

test("helm refuses values that do not exist, have the wrong type, or cannot be", async () => {
  for (const [set, reason] of [
    ["flannel.backned=vxlan", "backned"],
    ["flannel.backend=vxlna", "backend"],
    ["flannel.vni=16777216", "vni"],
    ["podCidr=10.244.0.0", "podCidr"],
    ["flannel.netConf.Network=10.0.0.0/8", "netConf"],
    ["flannel.netConf.enableipv6=true", "netConf"],
    ["flannel.backendOptions.Type=udp", "backendOptions"],
    ["flannel.backendOptions.type=udp", "backendOptions"],
    ["flannel.args=--ip-masq", "args"],
  ] as const) {
    const { exitCode, stderr } = await tryRenderChart([`--set=${set}`]);
    expect({ set, exitCode }).not.toEqual({ set, exitCode: 0 });
    expect(stderr, set).toContain(reason);
  }
});

test("the account of the manifest may do what flannel needs, and no more", async () => {
  const user = "system:serviceaccount:kube-flannel:flannel";
  const may = async (verb: string, resource: string, subresource?: string) => {
    const spec = { user, resourceAttributes: { verb, resource, ...(subresource !== undefined && { subresource }) } };
    const path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    return (await api.client.post<{ status: { allowed: boolean } }>(path, { spec })).status.allowed;
  };
  expect(await may("watch", "nodes")).toBe(true);
  expect(await may("patch", "nodes", "status")).toBe(true);
  expect(await may("patch", "nodes")).toBe(false);
  expect(await may("list", "pods")).toBe(false);
});

// Last, since the account of the other namespace gets the rights.
test("helm takes over a DaemonSet whose selector is another one, which nobody may change", async () => {
  const labels = { app: "flannel", tier: "node", "app.kubernetes.io/instance": "old" };
  const template = { metadata: { labels }, spec: { containers: [{ name: "kube-flannel", image: "old:1" }] } };
  await api.kubectl(["create", "namespace", "old"]);
  const old = { apiVersion: "apps/v1", kind: "DaemonSet", metadata: { name: "kube-flannel-ds", namespace: "old" } };
  const text = JSON.stringify({ ...old, spec: { selector: { matchLabels: labels }, template } });
  await api.kubectl(["apply", "-f", "-"], text);
  const words = ["install", "flannel", chart, "--namespace=old", "--take-ownership", "--force-conflicts"];
  await run(helmCommand([...words, `--kubeconfig=${api.adminKubeconfig}`]));
  const { spec } = await api.client.get<{ spec: { selector: object; template: { metadata: object; spec: PodSpec } } }>(
    "/apis/apps/v1/namespaces/old/daemonsets/kube-flannel-ds",
  );
  expect(spec.selector).toEqual({ matchLabels: labels });
  expect(spec.template.metadata).toMatchObject({ labels: { ...labels, "k8s-app": "flannel" } });
  expect(spec.template.spec.containers.map(({ image }) => image)).toEqual([`flannel:${version}`]);
});
