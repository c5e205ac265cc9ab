// What the agent tells of the attaching of containers, though no process of its own attaches them: see attachment-counter.ts,
// and the file in which the plugin `flannel` notes the ADDs that it refused.
import { renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { AttachmentCounter } from "../../cni/attachment-counter.ts";
import type { ContainerNetwork } from "../../cni/container-network.ts";
import { attachErrorFile } from "../../lease/subnet-env.ts";
import { readSmallFile } from "../../sys/files.ts";
import type { AgentMetricsRecorder } from "../../telemetry/metrics/metrics.ts";

/** The plugin stops at 200 lines while nobody takes them. */
const MAX_ERROR_BYTES = 16 * 1024;
/** Those that the plugin has: docs/cni.md. */
const codes: ReadonlySet<string> = new Set(["1", "4", "5", "6", "7", "8", "11", "999"]);

export class CniMetrics implements Disposable {
  readonly #metrics: AgentMetricsRecorder;
  readonly #errorFile: string;
  readonly #stateDirectory: string;
  readonly #counters = new Map<string, AttachmentCounter>();
  readonly #failed = new Map<string, number>();

  /** `stateDirectory`: of CNI; a host without it has nothing to count. */
  constructor(metrics: AgentMetricsRecorder, subnetFile: string, stateDirectory: string) {
    this.#metrics = metrics;
    this.#errorFile = attachErrorFile(subnetFile);
    this.#stateDirectory = stateDirectory;
  }

  /** Counts from now on for these networks too. */
  follow(networks: readonly ContainerNetwork[]): void {
    for (const network of networks) {
      const key = `${network.name} ${network.reservations}`;
      if (!this.#counters.has(key)) this.#counters.set(key, new AttachmentCounter(network));
    }
  }

  /** To be called now and then. Throws nothing. */
  tick(): void {
    const { attached, detached, present } = this.#read();
    this.#metrics.replace("flannel_cni_adds_total", attached);
    this.#metrics.replace("flannel_cni_dels_total", detached);
    this.#metrics.replace("flannel_cni_attachments", present);
    for (const code of this.#takeErrors()) this.#failed.set(code, (this.#failed.get(code) ?? 0) + 1);
    this.#metrics.replace(
      "flannel_cni_add_errors_total",
      [...this.#failed].map(([code, value]) => ({ labels: { code }, value })),
    );
  }

  [Symbol.dispose](): void {
    for (const counter of this.#counters.values()) counter[Symbol.dispose]();
    rmSync(this.#errorFile, { force: true });
  }

  #read() {
    const [attached, detached, present] = [new Totals(), new Totals(), new Totals()];
    let failed = 0;
    for (const [key, counter] of this.#counters) {
      counter.resync();
      const [name = ""] = key.split(" ", 1);
      attached.add(name, counter.counts.attached);
      detached.add(name, counter.counts.detached);
      present.add(name, counter.present);
      failed += counter.counts.failed;
    }
    if (this.#counters.size > 0) this.#failed.set("delegate", failed);
    return { attached: attached.values(), detached: detached.values(), present: present.values() };
  }

  /** Codes, one for each refused ADD. The file invites the plugin to note them: without an agent there is none. */
  #takeErrors(): string[] {
    const file = this.#errorFile;
    try {
      const found = statSync(file, { throwIfNoEntry: false });
      if (found === undefined) {
        if (isDirectory(dirname(file)) && isDirectory(this.#stateDirectory)) writeFileSync(file, "", { flag: "wx" });
        return [];
      }
      if (found.size === 0) return [];
      const taken = `${file}.taken`;
      renameSync(file, taken);
      const lines = readSmallFile(taken, MAX_ERROR_BYTES).trim().split("\n");
      rmSync(taken);
      return lines.map((line) => (codes.has(line) ? line : "other"));
    } catch {
      // Not for us to write, or another program's: it is a count that is missing.
      return [];
    }
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

class Totals {
  readonly #byNetwork = new Map<string, number>();

  add(network: string, value: number): void {
    this.#byNetwork.set(network, (this.#byNetwork.get(network) ?? 0) + value);
  }

  values() {
    return [...this.#byNetwork].map(([cni_network, value]) => ({ labels: { cni_network }, value }));
  }
}
