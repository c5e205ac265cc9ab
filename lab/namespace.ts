// One network namespace and the ways to look into it and change it. The name "" is the box's own namespace.
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { type CommandOptions, type CommandResult, run, tryRun } from "./command.ts";

export class Namespace {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** The argument list that runs `argv` in here; the program replaces `ip`, so its pid is the child's. */
  command(argv: readonly string[]): readonly string[] {
    return this.name === "" ? argv : ["ip", "netns", "exec", this.name, ...argv];
  }

  /** Runs a program in here and gives its standard output. */
  run(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
    return run(this.command(argv), options);
  }

  tryRun(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return tryRun(this.command(argv), options);
  }

  /** Starts a program that goes on running. */
  spawn(argv: readonly string[], options: SpawnOptions): ChildProcess {
    const [program = "", ...rest] = this.command(argv);
    return spawn(program, rest, options);
  }

  /** `ip` with the given words: `ns.ip("link", "set", "dev", "eth0", "up")`. */
  ip(...words: readonly string[]): Promise<string> {
    return run(["ip", ...this.#select(), ...words]);
  }

  /** `bridge` with the given words. */
  bridge(...words: readonly string[]): Promise<string> {
    return run(["bridge", ...this.#select(), ...words]);
  }

  /** Many `ip` commands in one process; stops at the first that fails. */
  async ipBatch(lines: readonly string[]): Promise<void> {
    if (lines.length > 0) await run(["ip", ...this.#select(), "-batch", "-"], { input: `${lines.join("\n")}\n` });
  }

  /** `ip -j` parsed. */
  async ipJson(...words: readonly string[]): Promise<readonly Record<string, unknown>[]> {
    const text = await run(["ip", ...this.#select(), "-j", ...words]);
    return text.trim() === "" ? [] : (JSON.parse(text) as Record<string, unknown>[]);
  }

  /** Sets kernel parameters: `{ "net.ipv4.ip_forward": 1 }`. */
  async sysctl(values: Readonly<Record<string, number>>): Promise<void> {
    await this.run(["sysctl", "-qw", ...Object.entries(values).map(([key, value]) => `${key}=${value}`)]);
  }

  /** Loads nftables text (one transaction). */
  async nft(script: string): Promise<void> {
    await this.run(["nft", "-f", "-"], { input: script });
  }

  #select(): readonly string[] {
    return this.name === "" ? [] : ["-n", this.name];
  }
}

/** The network namespace this process lives in: the switch and router of the lab. */
export const boxNamespace = new Namespace("");

/** Makes named namespaces with a living loopback. Fails when one exists. */
export async function createNamespaces(names: readonly string[]): Promise<readonly Namespace[]> {
  await boxNamespace.ipBatch(names.map((name) => `netns add ${name}`));
  const made = names.map((name) => new Namespace(name));
  await Promise.all(made.map((namespace) => namespace.ip("link", "set", "dev", "lo", "up")));
  return made;
}

/** Removes the namespaces that exist. Processes left in them keep theirs alive until they end. */
export async function removeNamespaces(names: readonly string[]): Promise<void> {
  const existing = (await run(["ip", "netns", "list"])).split("\n").map((line) => line.split(" ")[0] ?? "");
  await boxNamespace.ipBatch(names.filter((name) => existing.includes(name)).map((name) => `netns del ${name}`));
}
