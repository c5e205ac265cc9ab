// Upstream's own flanneld on a lab host: the program that upstream-program.ts builds, with leases in etcd.
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { LabHost } from "./host.ts";
import { readSubnetEnv, type SubnetEnv } from "./subnet-env.ts";
import { upstreamProgram } from "./upstream-program.ts";
import { until } from "./wait.ts";

export interface UpstreamAgentOptions {
  readonly etcdEndpoints: string;
  /** Puts something around the command line. */
  readonly wrap?: (argv: readonly string[]) => readonly string[];
  /** Where the kernel has no nf_tables. */
  readonly hasLegacyIptables?: true;
}

export class UpstreamAgent implements AsyncDisposable {
  readonly host: LabHost;
  readonly #subnetFile: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #output = "";

  private constructor(host: LabHost, subnetFile: string, child: ChildProcess) {
    this.host = host;
    this.#subnetFile = subnetFile;
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#output = (this.#output + text).slice(-20_000);
      });
    }
    this.#exited = new Promise((resolve) => child.once("close", resolve));
  }

  /** Returns once the program has its lease and has written its subnet file again. */
  static async start(host: LabHost, options: UpstreamAgentOptions): Promise<UpstreamAgent> {
    const directory = join(host.runDirectory, "upstream");
    mkdirSync(directory, { recursive: true });
    const subnetFile = join(directory, "subnet.env");
    const flags = [
      ...[`-etcd-endpoints=${options.etcdEndpoints}`, `-subnet-file=${subnetFile}`, "-iface=eth0"],
      "-iptables-forward-rules=false",
    ];
    const argv = [upstreamProgram(), ...flags];
    const path = [...(options.hasLegacyIptables === true ? [legacyIptables()] : []), process.env["PATH"]].join(":");
    const child = host.namespace.spawn(options.wrap?.(argv) ?? argv, {
      env: { ...process.env, PATH: path },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const agent = new UpstreamAgent(host, subnetFile, child);
    try {
      await until(() => agent.#output.includes("Running backend") || agent.#hasEnded, { what: "upstream to run" });
      if (agent.#hasEnded) throw new Error("it ended");
      await agent.subnetEnv();
    } catch (error) {
      await agent[Symbol.asyncDispose]();
      throw new Error(`upstream on ${host.name}: ${String(error)}\n--- its last words:\n${agent.#output}`, {
        cause: error,
      });
    }
    return agent;
  }

  get output(): string {
    return this.#output;
  }

  /** Waits for its subnet file, and reads it. */
  subnetEnv(): Promise<SubnetEnv> {
    return until(() => readSubnetEnv(this.#subnetFile), { what: "upstream's subnet.env" });
  }

  /** SIGTERM; what it made stays. */
  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#exited;
  }

  get #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#hasEnded) this.#child.kill("SIGKILL");
    await this.#exited;
  }
}

/** A directory in which `iptables` is the one that speaks with the kernel without nf_tables. */
function legacyIptables(): string {
  const directory = "/run/legacy-iptables";
  mkdirSync(directory, { recursive: true });
  for (const name of [
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
  ]) {
    const link = join(directory, name);
    if (!existsSync(link)) symlinkSync("/usr/sbin/xtables-legacy-multi", link);
  }
  return directory;
}
