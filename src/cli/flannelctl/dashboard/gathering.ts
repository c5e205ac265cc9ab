// Reads all sources of the dashboard while a page is open, and nothing otherwise.
import { setTimeout as sleep } from "node:timers/promises";
import type { Invocation } from "../session/invocation.ts";
import { AgentLooks } from "./agent-looks.ts";
import type { Board } from "./board.ts";
import { ClusterLook } from "./cluster-look.ts";
import { doctorLoop } from "./doctor-look.ts";
import { type LookLoop, runLoop, SourceStates } from "./look-loop.ts";
import { StoreLook } from "./store-look.ts";

/** A page that is loaded again is gone for a moment. */
const LINGER_MS = 5_000;
const END_WITHIN_MS = 300;

export class Gathering implements AsyncDisposable {
  readonly #loops: readonly LookLoop[];
  readonly #states: SourceStates;
  #run: { readonly stop: AbortController; readonly ended: Promise<unknown> } | undefined;
  #ending: Promise<unknown> | undefined;
  #lingering: NodeJS.Timeout | undefined;

  constructor(invocation: Invocation, board: Board) {
    const agent = new AgentLooks(invocation, board);
    const store = new StoreLook(invocation, board, agent);
    const others = new ClusterLook(invocation, board, agent, store);
    this.#loops = [...agent.loops, store.loop, doctorLoop(invocation, board), ...others.loops];
    this.#states = new SourceStates(board);
  }

  /** A page is about to be shown: what it shows first is read meanwhile. */
  anticipate(): void {
    if (this.#run !== undefined) return;
    this.#start();
    this.follow(0);
  }

  /** `watchers`: how many there are now. */
  follow(watchers: number): void {
    clearTimeout(this.#lingering);
    if (watchers > 0) this.#start();
    else this.#lingering = setTimeout(() => this.#stop(), LINGER_MS);
  }

  #start(): void {
    if (this.#run !== undefined) return;
    const stop = new AbortController();
    const ended = Promise.all(this.#loops.map((loop) => runLoop(loop, this.#states, stop.signal)));
    this.#run = { stop, ended };
  }

  #stop(): void {
    this.#run?.stop.abort();
    this.#ending = this.#run?.ended;
    this.#run = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#lingering);
    this.#stop();
    // What is in the middle of a system call ends with the process.
    await Promise.race([this.#ending, sleep(END_WITHIN_MS, undefined, { ref: false })]);
  }
}
