// The agents' pods of a cluster, ours or upstream's: the DaemonSet kube-flannel-ds, looked at as kubectl would.
import { until } from "../wait.ts";
import type { KubernetesCluster } from "./cluster.ts";

export interface FlannelPod {
  readonly metadata: { readonly name: string; readonly uid: string; readonly deletionTimestamp?: string };
  readonly spec: { readonly nodeName?: string };
  readonly status: { readonly containerStatuses?: readonly { ready: boolean; restartCount: number }[] };
}

const daemonSet = ["-n", "kube-flannel", "daemonset/kube-flannel-ds"] as const;

export class FlannelPods {
  readonly #cluster: KubernetesCluster;

  constructor(cluster: KubernetesCluster) {
    this.#cluster = cluster;
  }

  /** Undefined while there is none, or only one that goes. */
  async on(node: number): Promise<FlannelPod | undefined> {
    const path = "/api/v1/namespaces/kube-flannel/pods?labelSelector=app%3Dflannel";
    const { items } = await this.#cluster.api.client.get<{ items: readonly FlannelPod[] }>(path);
    return items.find(({ spec, metadata }) => spec.nodeName === `h${node}` && metadata.deletionTimestamp === undefined);
  }

  /** Waits for a ready one that `isNew` takes. A failure shows what the agents said. */
  async untilReady(node: number, isNew: (pod: FlannelPod) => boolean = () => true): Promise<FlannelPod> {
    const look = async () => {
      const pod = await this.on(node);
      if (pod !== undefined && pod.status.containerStatuses?.[0]?.ready === true && isNew(pod)) return pod;
      throw new Error(JSON.stringify(pod?.status));
    };
    return await until(look, { what: `the agent on h${node} to be ready` }).catch((error: unknown) =>
      this.explain(error),
    );
  }

  /** Applies a manifest and waits until all agents are its. */
  async rollOut(manifest: string): Promise<void> {
    await this.#cluster.apply(manifest);
    await this.#untilRolledOut();
  }

  /** Restarts all agents, node by node. */
  async restart(): Promise<void> {
    await this.#cluster.api.kubectl(["rollout", "restart", ...daemonSet]);
    await this.#untilRolledOut();
  }

  /** `flannelctl` in the agent's pod on a node. */
  async ctl(node: number, ...words: readonly string[]): Promise<string> {
    const pod = await this.on(node);
    const argv = ["exec", "-n", "kube-flannel", pod?.metadata.name ?? "", "--", "/opt/bin/flannelctl", ...words];
    return await this.#cluster.api.kubectl(argv);
  }

  /** Throws the error with what the cluster says about itself; prints what the agents said. */
  async explain(error: unknown): Promise<never> {
    const words = ["logs", "-n", "kube-flannel", "-l", "app=flannel", "--tail=60", "--prefix", "--all-containers"];
    const logs = await this.#cluster.api.tryKubectl(words);
    console.log(logs.stdout, logs.stderr);
    return this.#cluster.explain(error);
  }

  async #untilRolledOut(): Promise<void> {
    const words = ["rollout", "status", ...daemonSet, "--timeout=60s"];
    await this.#cluster.api.kubectl(words).catch((error: unknown) => this.explain(error));
  }
}

export function restartsOf(pod: FlannelPod | undefined): number {
  return pod?.status.containerStatuses?.[0]?.restartCount ?? 0;
}
