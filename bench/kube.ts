// A cluster of 5,000 Nodes behind a real API server: an agent's start, memory, its work while kubelets write their Nodes,
// and new Nodes. Upstream's agent beside ours.
import { setTimeout as sleep } from "node:timers/promises";
import { KubernetesApi } from "../lab/kubernetes/api-server.ts";
import { buildKubernetes } from "../lab/kubernetes/program.ts";
import { createLan } from "../lab/lan.ts";
import { buildUpstream, upstreamVersion } from "../lab/upstream-program.ts";
import type { BenchContext, BenchSet, Figure } from "./bench-set.ts";
import { medianFigure, percentileFigure } from "./bench-set.ts";
import { type AgentKind, KubeAgent, ownNode, ownPodCidr } from "./kube-agent.ts";
import { createNodes, nodeName, nodeObject, readyCondition } from "./kube-nodes.ts";
import { KubeProbe } from "./kube-probe-process.ts";
import { requirePeerObjects } from "./peer-objects.ts";
import { peers } from "./peers.ts";

const NODES = 5_000;
/** Each kubelet writes its Node so often at least. */
const HEARTBEAT_SECONDS = 300;
const SETTLE_SECONDS = 60;
const WATCHED_SECONDS = 60;
const NEW_NODES = 50;

export const kubeSet: BenchSet = {
  name: "kube",
  title: `an agent in a Kubernetes cluster of ${NODES.toLocaleString("en")} Nodes of 20 KB`,
  async prepare(say) {
    await buildKubernetes(say);
    await buildUpstream().catch((error: unknown) => say(`without upstream's agent: ${String(error)}`));
  },
  async run(context) {
    await using world = await KubeWorld.create(context);
    const kinds: readonly AgentKind[] = KubeAgent.hasUpstream ? ["flanneld", "upstream"] : ["flanneld"];
    const samples = new Map<AgentKind, AgentSamples>(kinds.map((kind) => [kind, noSamples()]));
    for (let round = 1; round <= context.rounds; round++) {
      for (const [kind, of] of samples) {
        context.progress(`round ${round} of ${context.rounds}: ${kind}`);
        await measureAgent(world, kind, of);
      }
    }
    const figures = [...samples].flatMap(([kind, of]) => figuresOf(kind, of));
    return { figures, notes: [...notes, ...(samples.has("upstream") ? [] : ["Upstream's agent could not be built."])] };
  },
};

const notes = [
  "An HTTPS proxy in front of the API server takes the moments; the kernel's own notifications end the times.",
  `Each Node's status is written every ${HEARTBEAT_SECONDS} s; CPU time over ${WATCHED_SECONDS} s of that. Resident memory after it.`,
  `upstream: flannel ${upstreamVersion}.`,
];

class KubeWorld implements AsyncDisposable {
  readonly api: KubernetesApi;
  readonly lan: Awaited<ReturnType<typeof createLan>>;
  readonly probe: KubeProbe;
  readonly #resources: AsyncDisposableStack;

  private constructor(parts: Pick<KubeWorld, "api" | "lan" | "probe">, resources: AsyncDisposableStack) {
    this.api = parts.api;
    this.lan = parts.lan;
    this.probe = parts.probe;
    this.#resources = resources;
  }

  static async create({ progress }: BenchContext): Promise<KubeWorld> {
    await using resources = new AsyncDisposableStack();
    const lan = resources.use(await createLan({ hosts: 1 }));
    const api = resources.use(await KubernetesApi.start());
    progress(`creating ${NODES} Nodes`);
    await createNodes(api.client, NODES);
    const probe = resources.use(await KubeProbe.start(lan.host(1), api));
    return new KubeWorld({ api, lan, probe }, resources.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

interface AgentSamples {
  readonly programmedMs: number[];
  readonly startCpuMs: number[];
  readonly peakMb: number[];
  readonly residentMb: number[];
  readonly updateCpuPercent: number[];
  readonly newNodeMs: number[];
}

function noSamples(): AgentSamples {
  return {
    ...{ programmedMs: [], startCpuMs: [], peakMb: [] },
    ...{ residentMb: [], updateCpuPercent: [], newNodeMs: [] },
  };
}

/** One life of an agent, from its first start on a host. */
async function measureAgent({ api, lan, probe }: KubeWorld, kind: AgentKind, of: AgentSamples): Promise<void> {
  const host = lan.host(1);
  // Kubelets write some; without any upstream's agent ends.
  const annotations = { "node.alpha.kubernetes.io/ttl": "0" };
  await api.createNode(ownNode, { podCidrs: [ownPodCidr], annotations });
  const { report } = await probe.programmed(NODES);
  await using agent = await KubeAgent.start(kind, host, probe.kubeconfig);
  const { listedAtMs, programmedAtMs } = await agent.outlives(report);
  of.startCpuMs.push((await agent.cpuSeconds()) * 1_000);
  of.programmedMs.push(programmedAtMs - listedAtMs);
  await requirePeerObjects(host.namespace, peers(NODES));
  of.updateCpuPercent.push(await cpuPercentUnderUpdates(api, agent));
  const { residentMb, peakMb } = await agent.memory();
  of.residentMb.push(residentMb);
  of.peakMb.push(peakMb);
  for (let number = NODES; number < NODES + NEW_NODES; number++) {
    const seen = await probe.newNode(number);
    await api.client.post("/api/v1/nodes", nodeObject(number));
    const { toldAtMs, programmedAtMs: doneAtMs } = await seen.report;
    of.newNodeMs.push(doneAtMs - toldAtMs);
    await api.deleteNode(nodeName(number));
    // So that no sample begins in step with a timer of the agent.
    await sleep(50 + Math.random() * 50);
  }
  await agent[Symbol.asyncDispose]();
  await api.deleteNode(ownNode);
}

/** A minute of it goes by first: what follows a start belongs to the start. */
async function cpuPercentUnderUpdates(api: KubernetesApi, agent: KubeAgent): Promise<number> {
  await writeNodes(api, SETTLE_SECONDS);
  const before = await agent.cpuSeconds();
  const startedMs = performance.now();
  await writeNodes(api, WATCHED_SECONDS);
  return ((await agent.cpuSeconds()) - before) / ((performance.now() - startedMs) / 100_000);
}

/** As the kubelets of all Nodes do it together. */
async function writeNodes(api: KubernetesApi, seconds: number): Promise<void> {
  const startedMs = performance.now();
  const everyMs = (HEARTBEAT_SECONDS * 1_000) / NODES;
  const writes: Promise<unknown>[] = [];
  for (let number = 0; performance.now() - startedMs < seconds * 1_000; number++) {
    const path = `/api/v1/nodes/${nodeName(number % NODES)}/status`;
    writes.push(api.client.patch(path, { status: { conditions: [readyCondition()] } }));
    await sleep(Math.max(0, startedMs + (number + 1) * everyMs - performance.now()));
  }
  await Promise.all(writes);
}

function figuresOf(kind: AgentKind, of: AgentSamples): readonly Figure[] {
  const isOurs = kind === "flanneld";
  const name = (text: string) => (isOurs ? text : `upstream: ${text}`);
  const most = (atMost: number) => (isOurs ? { atMost } : {});
  return [
    medianFigure({ name: name("end of the list → all programmed"), unit: "ms", ...most(3_000) }, of.programmedMs),
    medianFigure({ name: name("CPU time from exec to all programmed"), unit: "ms" }, of.startCpuMs),
    medianFigure({ name: name("resident"), unit: "MB", ...most(150) }, of.residentMb),
    medianFigure({ name: name("resident, at the most since exec"), unit: "MB", ...most(150) }, of.peakMb),
    medianFigure(
      { name: name("CPU while Nodes are written, of one core"), unit: "%", ...most(1) },
      of.updateCpuPercent,
    ),
    percentileFigure(
      { name: name("event of a new Node → all its objects"), unit: "ms", ...most(10) },
      50,
      of.newNodeMs,
    ),
    percentileFigure(
      { name: name("event of a new Node → all its objects"), unit: "ms", ...most(100) },
      99,
      of.newNodeMs,
    ),
  ];
}
