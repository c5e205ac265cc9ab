// The probe in the agent's network namespace, as the benchmark sees it; see `kube-probe.ts`.
import type { ChildProcessByStdio } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { LabHost } from "../lab/host.ts";
import type { KubernetesApi } from "../lab/kubernetes/api-server.ts";
import type { NewNodeReport, ProbeOrder, ProgrammedReport } from "./kube-probe.ts";

const program = fileURLToPath(new URL("kube-probe.ts", import.meta.url));
const PORT = 6480;
const LOST_AFTER_MS = 300_000;

/** A promise that is not awaited with what brings it. */
interface Asked<T> {
  readonly report: Promise<T>;
}

export class KubeProbe implements AsyncDisposable {
  /** For agents on that host; it names no user. */
  readonly kubeconfig: string;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers: AsyncIterator<string>;

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>, kubeconfig: string) {
    this.kubeconfig = kubeconfig;
    this.#child = child;
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** Returns when it serves. It speaks to the API server as the administrator. */
  static async start(host: LabHost, api: KubernetesApi): Promise<KubeProbe> {
    const { certificateFile, keyFile } = await api.pki.issueClient("admin", ["system:masters"]);
    const own = await api.pki.issueServer(["IP:127.0.0.1"]);
    const argv = [
      ...[process.execPath, program, api.serverAddress, api.pki.caFile, certificateFile, keyFile, String(PORT)],
      ...[own.certificateFile, own.keyFile],
    ];
    const child = host.namespace.spawn(argv, { stdio: ["pipe", "pipe", "inherit"] });
    const kubeconfig = await api.kubeconfigOf(undefined, `https://127.0.0.1:${PORT}`);
    const probe = new KubeProbe(child as ChildProcessByStdio<Writable, Readable, null>, kubeconfig);
    await probe.#answer();
    return probe;
  }

  /** Returns when it looks; so start the agent afterwards. */
  programmed(peers: number): Promise<Asked<ProgrammedReport>> {
    return this.#ask({ wait: "programmed", peers });
  }

  /** Returns when it looks; so create the Node afterwards. */
  newNode(peer: number): Promise<Asked<NewNodeReport>> {
    return this.#ask({ wait: "new-node", peer });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.kill("SIGKILL");
    await closed;
  }

  async #ask<T>(order: ProbeOrder): Promise<Asked<T>> {
    this.#child.stdin.write(`${JSON.stringify(order)}\n`);
    await this.#answer();
    const report = this.#answer().then((text) => JSON.parse(text) as T);
    // Whoever asked may be late to look at it.
    report.catch(() => undefined);
    return { report };
  }

  async #answer(): Promise<string> {
    const late = AbortSignal.timeout(LOST_AFTER_MS);
    const lost = new Promise<never>((_, reject) => {
      late.addEventListener("abort", () => reject(new Error(`no answer of the probe within ${LOST_AFTER_MS} ms`)));
    });
    const { value, done } = await Promise.race([this.#answers.next(), lost]);
    if (done === true) throw new Error("the probe has ended");
    return value;
  }
}
