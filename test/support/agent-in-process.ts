// An agent of the product in this process, on an etcd, for tests in a box: with backends of the test's own if need be.
import { until } from "../../lab/wait.ts";
import type { NetworkStatus, Status } from "../../src/agent/control/control-protocol.ts";
import { runAgent } from "../../src/agent/lifecycle/run-agent.ts";
import { type BackendRegistry, backends as ownBackends } from "../../src/backend/registry.ts";
import { resolveAgentOptions } from "../../src/cli/flags/flanneld-flags.ts";
import { statusOutputSchema } from "../../src/cli/flannelctl/session/json-output.ts";
import { createLogger } from "../../src/telemetry/create-logger.ts";
import { flannelctl, type TemporaryDirectory } from "./flannelctl.ts";

export interface AgentInProcessOptions {
  readonly endpoints: string;
  /** For subnet file and state. */
  readonly directory: TemporaryDirectory;
  readonly flags?: readonly string[];
  readonly backends?: BackendRegistry;
}

/** The agent's status, with that of its one network. */
export type OneStatus = Omit<Status, "networks"> & NetworkStatus;

/** Disposing stops it; throws with its log unless it ends well. */
export class AgentInProcess implements AsyncDisposable {
  readonly #subnetFile: string;
  readonly #stop = new AbortController();
  readonly #lines: string[] = [];
  readonly #ended: Promise<number>;

  constructor({ endpoints, directory, flags = [], backends = ownBackends }: AgentInProcessOptions) {
    this.#subnetFile = directory.file("subnet.env");
    const files = [`--subnet-file=${this.#subnetFile}`, `--state-dir=${directory.file("state")}`];
    const invocation = resolveAgentOptions([`--etcd-endpoints=${endpoints}`, "--iface=eth0", ...files, ...flags], {});
    if (invocation.action !== "run") throw new Error(`asked for ${invocation.action}`);
    this.#ended = runAgent({
      options: invocation.options,
      version: "1.2.3",
      backends,
      logger: createLogger({ format: "text", verbosity: 9, write: (line) => void this.#lines.push(line) }),
      signal: this.#stop.signal,
      storeProgram: "",
      onReload: () => ({ [Symbol.dispose]: () => undefined }),
    });
  }

  get log(): string {
    return this.#lines.join("");
  }

  async untilStatus(what: string, isWanted: (status: OneStatus) => boolean): Promise<OneStatus> {
    return await until(
      async () => {
        const { stdout, stderr } = await flannelctl(["status", "--json", "--subnet-file", this.#subnetFile]);
        if (stdout === "") throw new Error(`${stderr}${this.log}`);
        const { networks, ...agent } = statusOutputSchema.parse(JSON.parse(stdout));
        const [network] = networks;
        if (network === undefined) throw new Error(`${stdout} names no network`);
        const status = { ...network, ...agent };
        if (!isWanted(status)) throw new Error(`${stdout}${this.log}`);
        return status;
      },
      { what },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    if ((await this.#ended) !== 0) throw new Error(this.log);
  }
}
