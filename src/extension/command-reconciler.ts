// Has the extension backend's commands run: one after another, what fails again with back-off, and never twice what is done.
// It gets the whole desired state, and compares that with what it has done and what an earlier run had begun.
import { type PassEnd, ReconcileLoop } from "../async/reconcile-loop.ts";
import { describeError } from "../errors.ts";
import type { Logger } from "../telemetry/logger.ts";
import { type CommandFailure, CommandFailures, type CommandScope } from "./command-failures.ts";
import type { CommandName, ExtensionCommands, ExtensionPeer, ExtensionState, Variables } from "./extension-state.ts";
import { isSamePeer, readSavedPeers, type SavedPeers, shownPeer, signatureOf } from "./peer-record.ts";
import { runCommand } from "./run-command.ts";

export interface CommandReconcilerOptions {
  readonly logger: Logger;
  /** What `save` was given last, by this run or an earlier one. */
  readonly load: () => unknown;
  readonly save: (saved: SavedPeers) => Promise<void>;
  /** To be called when failures or what is still to be done may have changed. */
  readonly onChange: () => void;
  /** Whether the agent is asked to stop, and no other program follows. */
  readonly isStopped: () => boolean;
}

/** How long `apply` waits for its commands: the rest goes on after it, and is reported as not done yet. */
const APPLY_WAITS_MS = 5_000;
/** A peer that is gone cannot be reached by mistake: after so many failures its removal is given up. */
const MAX_REMOVALS = 5;
/** How long a command that runs when the agent stops has to end. */
const STOP_WAITS_MS = 3_000;
/** A service manager waits 90 s for the agent, Kubernetes 30 s. */
const MAX_SHUTDOWN_MS = 20_000;

const POST = "post-startup";
const addOf = (key: string) => `add ${key}`;
const removeOf = (key: string) => `remove ${key}`;

interface Task {
  readonly id: string;
  readonly run: () => Promise<void>;
}

export class CommandReconciler implements AsyncDisposable {
  readonly #options: CommandReconcilerOptions;
  readonly #abort = new AbortController();
  readonly #failures = new CommandFailures();
  /** Those for whom the add command was begun: by the key of their lease. */
  readonly #begun: Map<string, ExtensionPeer>;
  /** By what the add command of a peer succeeded. */
  readonly #added = new Map<string, string>();
  #postDone: string | undefined;
  #state: ExtensionState | undefined;
  #isComplete = false;
  #saved = "";
  readonly #loop = new ReconcileLoop({ pass: () => this.#pass(), debounceMs: 0 });

  constructor(options: CommandReconcilerOptions) {
    this.#options = options;
    this.#begun = new Map(readSavedPeers(options.load()));
  }

  /** `isComplete`: who is not among the peers is gone. */
  async apply(state: ExtensionState, isComplete: boolean): Promise<void> {
    this.#state = state;
    this.#isComplete = isComplete;
    const keys = new Set(state.peers.map(({ key }) => key));
    for (const key of this.#added.keys()) if (!keys.has(key)) this.#added.delete(key);
    this.#failures.keep((task) => task === POST || this.#isWantedTask(task, keys));
    const waited = Promise.withResolvers<void>();
    const timer = setTimeout(waited.resolve, APPLY_WAITS_MS);
    await Promise.race([this.#loop.passNow(), waited.promise]);
    clearTimeout(timer);
  }

  /** Why nothing can work; undefined when it does. */
  problem(): string | undefined {
    if (this.#state === undefined || this.#isPostDone(this.#state)) return undefined;
    return this.#failures.of(POST)?.error ?? "PostStartupCommand has not ended yet";
  }

  failures(): readonly CommandFailure[] {
    const waiting = this.#waiting();
    const failures = this.#failures.list().filter(({ scope }) => scope !== "own");
    if (waiting === 0 || this.problem() !== undefined) return failures;
    const error = `has not ended yet for ${waiting} ${waiting === 1 ? "peer" : "peers"}`;
    return [...failures, { object: "SubnetAddCommand", error, attempts: 0, scope: "peer" }];
  }

  /** Peers that are not added. */
  unreachedPeers(): number {
    const { peers = [] } = this.#state ?? {};
    return peers.filter((peer) => !this.#isAdded(peer)).length;
  }

  /** What was run for good, and what is still to be run. */
  planLines(): { readonly desired: readonly string[]; readonly difference: readonly string[] } {
    const state = this.#state;
    if (state === undefined) return { desired: [], difference: [] };
    const line = (peer: ExtensionPeer) => `SubnetAddCommand for ${shownPeer(peer)}`;
    const post = state.commands.postStartup === "" ? [] : ["PostStartupCommand"];
    const keys = new Set(state.peers.map(({ key }) => key));
    const gone = [...this.#begun.values()].filter(({ key }) => this.#isComplete && !keys.has(key));
    return {
      desired: [...post, ...state.peers.map(line)],
      difference: [
        ...(this.#isPostDone(state) ? [] : post.map((text) => `+ ${text}`)),
        ...state.peers.filter((peer) => !this.#isAdded(peer)).map((peer) => `+ ${line(peer)}`),
        ...gone.map((peer) => `- ${line(peer)}`),
      ],
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const timer = setTimeout(() => this.#abort.abort(), STOP_WAITS_MS);
    await this.#loop[Symbol.asyncDispose]();
    clearTimeout(timer);
    if (this.#state !== undefined && this.#options.isStopped()) await this.#shutDown(this.#state);
  }

  async #shutDown({ commands, own }: ExtensionState): Promise<void> {
    const timeLimitMs = Math.min(commands.timeLimitMs, MAX_SHUTDOWN_MS);
    try {
      await this.#run("ShutdownCommand", { ...commands, timeLimitMs }, own, "");
    } catch (error) {
      this.#options.logger.error("extension.failed", "a command failed", { error: describeError(error) });
    }
  }

  #waiting(): number {
    const { peers = [] } = this.#state ?? {};
    return peers.filter((peer) => !this.#isAdded(peer) && this.#failures.of(addOf(peer.key)) === undefined).length;
  }

  #isWantedTask(task: string, keys: ReadonlySet<string>): boolean {
    const [kind, key = ""] = [task.slice(0, task.indexOf(" ")), task.slice(task.indexOf(" ") + 1)];
    return kind === "add" ? keys.has(key) : this.#begun.has(key) && !keys.has(key);
  }

  /** Ends when nothing is due; what is to be retried has its time then. */
  async #pass(): Promise<PassEnd<void>> {
    await this.#workUntilDone();
    this.#options.onChange();
    // Of what cannot run now the failures stay, without a time: a peer's while the host itself is not set up.
    const ids = this.#state === undefined ? [] : this.#wantedTasks(this.#state).map(({ id }) => id);
    return { result: undefined, repeatInMs: this.#failures.nextInMs(ids) };
  }

  async #workUntilDone(): Promise<void> {
    for (;;) {
      const state = this.#state;
      if (state === undefined || this.#loop.isStopped) return;
      await this.#save(state);
      const tasks = this.#wantedTasks(state).filter(({ id }) => this.#failures.isDue(id));
      if (tasks.length === 0) return;
      for (const { run } of tasks) {
        // What is wanted has changed: what is to be done now is found again.
        if (this.#state !== state || this.#loop.isStopped) break;
        await run();
      }
    }
  }

  /** What is to be done, due or not: first what the host itself needs, then who is gone, then who is there. */
  #wantedTasks(state: ExtensionState): Task[] {
    if (!this.#isPostDone(state)) return [{ id: POST, run: () => this.#startUp(state) }];
    const wanted = new Set(state.peers.map(({ key }) => key));
    const gone = this.#isComplete ? [...this.#begun.values()].filter(({ key }) => !wanted.has(key)) : [];
    return [
      ...gone.map((peer) => ({ id: removeOf(peer.key), run: () => this.#remove(state, peer) })),
      ...state.peers
        .filter((peer) => !this.#isAdded(peer))
        .map((peer) => ({ id: addOf(peer.key), run: () => this.#add(state, peer) })),
    ];
  }

  #isPostDone({ commands, own }: ExtensionState): boolean {
    return commands.postStartup === "" || this.#postDone === postSignature(commands, own);
  }

  #isAdded(peer: ExtensionPeer): boolean {
    const commands = this.#state?.commands;
    return commands !== undefined && this.#added.get(peer.key) === addSignature(commands, peer);
  }

  async #startUp({ commands, own }: ExtensionState): Promise<void> {
    const isDone = await this.#try(POST, "PostStartupCommand", "own", () =>
      this.#run("PostStartupCommand", commands, own, ""),
    );
    if (!isDone) return;
    this.#postDone = postSignature(commands, own);
    // It may have recreated the device: what was on it is gone.
    this.#added.clear();
  }

  /** Before it is tried again, what an attempt may have left is removed: so a command that is not idempotent recovers. */
  async #add({ commands }: ExtensionState, peer: ExtensionPeer): Promise<void> {
    const id = addOf(peer.key);
    const known = this.#begun.get(peer.key);
    const leftover = this.#failures.of(id) === undefined ? undefined : peer;
    const former = known !== undefined && !isSamePeer(known, peer) ? known : leftover;
    if (former !== undefined) await this.#forget(commands, former);
    this.#begun.set(peer.key, peer);
    const isDone = await this.#try(id, `SubnetAddCommand for ${shownPeer(peer)}`, "peer", () =>
      this.#run("SubnetAddCommand", commands, peer.variables, peer.input),
    );
    if (isDone) this.#added.set(peer.key, addSignature(commands, peer));
  }

  async #forget(commands: ExtensionCommands, former: ExtensionPeer): Promise<void> {
    try {
      await this.#run("SubnetRemoveCommand", commands, former.variables, former.input);
    } catch (error) {
      this.#options.logger.verbose(1, "extension.leftover", "cannot remove what may be left of a peer", {
        error: describeError(error),
      });
    }
  }

  async #remove({ commands }: ExtensionState, peer: ExtensionPeer): Promise<void> {
    const id = removeOf(peer.key);
    const isDone = await this.#try(id, `SubnetRemoveCommand for ${shownPeer(peer)}`, "leftover", () =>
      this.#run("SubnetRemoveCommand", commands, peer.variables, peer.input),
    );
    const { attempts = 0 } = this.#failures.of(id) ?? {};
    if (!isDone && attempts < MAX_REMOVALS) return;
    if (!isDone) {
      const message = `gave up removing the peer ${shownPeer(peer)} after ${attempts} attempts`;
      this.#options.logger.warn("extension.given-up", message, { error: this.#failures.of(id)?.error });
    }
    this.#failures.clear(id);
    this.#begun.delete(peer.key);
  }

  async #try(id: string, object: string, scope: CommandScope, task: () => Promise<void>): Promise<boolean> {
    const { logger, onChange } = this.#options;
    try {
      await task();
      if (this.#failures.clear(id)) {
        logger.info("extension.recovered", "a command that had failed succeeded", { command: object });
        onChange();
      }
      return true;
    } catch (error) {
      if (this.#loop.isStopped) return false;
      const text = describeError(error);
      const isNews = this.#failures.of(id)?.error !== text;
      this.#failures.add(id, object, text, scope);
      if (isNews) logger.error("extension.failed", "a command failed; retrying", { error: text });
      onChange();
      return false;
    }
  }

  /** Does nothing for a command that is not configured. */
  async #run(name: CommandName, commands: ExtensionCommands, variables: Variables, input: string): Promise<void> {
    const { timeLimitMs, shell } = commands;
    const command = commandOf(name, commands);
    if (command === "") return;
    const startedMs = performance.now();
    const signal = name === "ShutdownCommand" ? {} : { signal: this.#abort.signal };
    await runCommand({ name, command, shell, variables, input, timeLimitMs, ...signal });
    const durationMs = Math.round(performance.now() - startedMs);
    const subnets = { subnet: variables["SUBNET"], ipv6Subnet: variables["IPV6SUBNET"] };
    this.#options.logger.verbose(1, "extension.command", `ran ${name}`, { ...subnets, durationMs });
  }

  /** Before a command is begun: should the agent be killed meanwhile, the next one knows. */
  async #save({ peers, own }: ExtensionState): Promise<void> {
    const all = new Map([
      ...this.#begun,
      ...peers.map((peer) => [peer.key, this.#begun.get(peer.key) ?? peer] as const),
    ]);
    const saved = { peers: [...all.values()], own };
    const text = JSON.stringify(saved);
    if (text === this.#saved) return;
    try {
      await this.#options.save(saved);
      this.#saved = text;
    } catch (error) {
      const message = "cannot save for which peers commands ran: a restart would not remove peers that went meanwhile";
      this.#options.logger.warn("extension.not-saved", message, { error: describeError(error) });
    }
  }
}

function commandOf(name: CommandName, commands: ExtensionCommands): string {
  switch (name) {
    case "PreStartupCommand":
      return commands.preStartup;
    case "PostStartupCommand":
      return commands.postStartup;
    case "SubnetAddCommand":
      return commands.subnetAdd;
    case "SubnetRemoveCommand":
      return commands.subnetRemove;
    case "ShutdownCommand":
      return commands.shutdown;
  }
}

function postSignature({ postStartup, shell }: ExtensionCommands, own: Variables): string {
  return `${shell} ${postStartup}\n${signatureOf(own)}`;
}

function addSignature({ subnetAdd, shell }: ExtensionCommands, { variables, input }: ExtensionPeer): string {
  return `${shell} ${subnetAdd}\n${signatureOf(variables)}\n${input}`;
}
