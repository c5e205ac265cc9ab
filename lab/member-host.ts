// A lab host as a member of a small cluster: `flannelctl init` or `join` below a root of its own, and the processes that
// these say are to run, started by the very lines they print.
import type { ChildProcess } from "node:child_process";
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { LabAgent } from "./agent.ts";
import type { CommandResult } from "./command.ts";
import { CommandError } from "./command.ts";
import type { LabHost } from "./host.ts";
import { until } from "./wait.ts";

const flannelctl = fileURLToPath(new URL("../bin/flannelctl", import.meta.url));

type Environment = Readonly<Record<string, string>>;

/** Disposing kills its processes and removes its files. */
export class MemberHost implements AsyncDisposable {
  readonly host: LabHost;
  readonly root: string;
  /** For every process of this host. */
  readonly env: Environment;
  #storeLine = "";
  #agentLine = "";
  #store: ChildProcess | undefined;
  #agent: LabAgent | undefined;
  #storeOutput = "";

  constructor(host: LabHost, env: Environment = {}) {
    this.host = host;
    this.root = `/run/roots/${host.name}`;
    this.env = env;
  }

  get agent(): LabAgent {
    if (this.#agent === undefined) throw new Error(`no agent on ${this.host.name}`);
    return this.#agent;
  }

  get storeOutput(): string {
    return this.#storeOutput;
  }

  file(path: string): string {
    return `${this.root}/${path}`;
  }

  /** The argument list of the shipped flannelctl on this host. */
  argv(...words: readonly string[]): readonly string[] {
    return this.host.namespace.command([flannelctl, "--root", this.root, ...words]);
  }

  tryCtl(...words: readonly string[]): Promise<CommandResult> {
    return this.host.namespace.tryRun([flannelctl, "--root", this.root, ...words], { env: this.env });
  }

  /** Standard output; throws when it fails. */
  async ctl(...words: readonly string[]): Promise<string> {
    const result = await this.tryCtl(...words);
    if (result.exitCode !== 0) throw new CommandError(words, result.exitCode, result.stderr);
    return result.stdout;
  }

  /** Returns the words behind `flannelctl` that the output tells to run on a further host. */
  async init(...words: readonly string[]): Promise<readonly string[]> {
    const output = await this.ctl("init", "--no-systemd", "--name", this.host.name, ...words);
    this.#remember(output);
    return lineWith(output, "bin/flannelctl join").split(" ").slice(1);
  }

  /** `command` as `init` or `token create` tell it. */
  async join(command: readonly string[]): Promise<void> {
    this.#remember(await this.ctl(...command, "--no-systemd", "--name", this.host.name));
  }

  /** A further join command, from this host. */
  async createToken(...words: readonly string[]): Promise<readonly string[]> {
    return lineWith(await this.ctl("token", "create", ...words), "bin/flannelctl join")
      .split(" ")
      .slice(1);
  }

  async startStore(): Promise<void> {
    const child = this.host.namespace.spawn(["sh", "-c", `exec ${this.#storeLine}`], {
      env: { ...process.env, ...this.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#storeOutput = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#storeOutput += text;
      });
    }
    this.#store = child;
    await until(() => this.#storeOutput.includes("serving"), { what: `the store to serve: ${this.#storeLine}` });
  }

  async stopStore(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const child = this.#store;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await exited;
  }

  startAgent(): LabAgent {
    this.#agent = LabAgent.start(this.host, {
      program: ["sh", "-c", `exec ${this.#agentLine}`],
      env: this.env,
      directory: this.file("run/flannel"),
      knowsFiles: true,
    });
    return this.#agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent?.[Symbol.asyncDispose]();
    await this.stopStore("SIGKILL");
    await rm(this.root, { recursive: true, force: true });
  }

  #remember(output: string): void {
    this.#agentLine = lineWith(output, "/bin/flanneld");
    if (output.includes("/bin/flannel-store")) this.#storeLine = lineWith(output, "/bin/flannel-store");
  }
}

function lineWith(output: string, part: string): string {
  const line = output.split("\n").find((text) => text.startsWith("  ") && text.includes(part));
  if (line === undefined) throw new Error(`no line with ${part} in:\n${output}`);
  return line.trim();
}
