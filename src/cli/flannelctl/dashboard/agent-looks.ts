// Reads this host's agent for the dashboard: status and peers often, plan and rules when something moved, the journal as it comes.
import { hostname } from "node:os";
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { planSchema, rulesSchema, type Status } from "../../../agent/control/control-protocol.ts";
import type { Peers } from "../../../agent/control/journal-protocol.ts";
import { answering, historyRequest } from "../commands/history.ts";
import { peersRequest } from "../commands/peers.ts";
import { statusRequest } from "../commands/status.ts";
import { followEvents } from "../session/agent-stream.ts";
import { askAgent } from "../session/control-client.ts";
import type { Invocation } from "../session/invocation.ts";
import { ofNamedNetwork, statusOfNamedNetwork } from "../session/one-network.ts";
import {
  agentItem,
  devicesOf,
  entryItem,
  MAX_PEERS,
  networkItem,
  peerItems,
  planItem,
  rulesItem,
  sampleOf,
} from "./agent-items.ts";
import type { Board } from "./board.ts";
import type { LookLoop } from "./look-loop.ts";

const STATUS_EVERY_MS = 2_000;
/** Also when nothing says that something moved: the kernel may have been changed behind the agent's back. */
const PLAN_EVERY_MS = 10_000;
const RULES_EVERY_MS = 30_000;
/** How soon a move is looked at. */
const MOVE_CHECK_MS = 1_000;
const OLD_ENTRIES = 300;

export class AgentLooks {
  readonly #invocation: Invocation;
  readonly #board: Board;
  /** By network: the device of the route to each subnet, as of the last plan. */
  readonly #devices = new Map<string, ReadonlyMap<string, string>>();
  #status: Status | undefined;
  #peers: Peers["networks"] = [];
  #readAtMs = 0;
  /** What the last entry of the journal was, of which run of the agent. */
  #lastEntry: { readonly startedAt: string; readonly sequence: number } | undefined;

  constructor(invocation: Invocation, board: Board) {
    this.#invocation = invocation;
    this.#board = board;
  }

  /** When status and peers were read last, in Unix time; 0: never. */
  get readAtMs(): number {
    return this.#readAtMs;
  }

  /** As of the last look. */
  get status(): Status | undefined {
    return this.#status;
  }

  get peers(): Peers["networks"] {
    return this.#peers;
  }

  /** Changes when leases, the configuration or the kernel may have. */
  get move(): string {
    const networks = this.#status?.networks ?? [];
    return JSON.stringify([
      this.#status?.agent.pid,
      ...networks.map(({ name, revision, repairs, peers, failures }) => [
        ...[name, revision, repairs.total, peers.desired, peers.programmed, failures.length],
      ]),
    ]);
  }

  get loops(): readonly LookLoop[] {
    return [
      { source: "agent", look: (signal, markRead) => this.#lookAtStatus(signal, markRead) },
      { source: "plan", look: this.#afterMoves(PLAN_EVERY_MS, (signal) => this.#lookAtPlan(signal)) },
      { source: "rules", look: this.#afterMoves(RULES_EVERY_MS, (signal) => this.#lookAtRules(signal)) },
      { source: "journal", look: (signal, markRead) => this.#followJournal(signal, markRead) },
    ];
  }

  /** Every `mostMs`, and soon after a move. */
  #afterMoves(mostMs: number, look: (signal: AbortSignal) => Promise<void>): LookLoop["look"] {
    let seen = "";
    let lookedAtMs = Number.NEGATIVE_INFINITY;
    return async (signal, markRead) => {
      const { move } = this;
      if (move === seen && performance.now() - lookedAtMs < mostMs) return MOVE_CHECK_MS;
      // After a failure the next look is due, also when the move is the one that was seen before.
      lookedAtMs = Number.NEGATIVE_INFINITY;
      await look(signal);
      seen = move;
      lookedAtMs = performance.now();
      markRead();
      return MOVE_CHECK_MS;
    };
  }

  async #lookAtStatus(signal: AbortSignal, markRead: () => void): Promise<number> {
    const { options } = this.#invocation;
    const [wholeStatus, wholePeers] = await Promise.all([
      askAgent(options.socketPaths, statusRequest, signal),
      askAgent(options.socketPaths, peersRequest, signal),
    ]);
    const status = statusOfNamedNetwork(wholeStatus, options);
    const { networks } = ofNamedNetwork(wholePeers, options);
    this.#status = status;
    this.#peers = networks;
    this.#readAtMs = Date.now();
    this.#board.keepNetworks(status.networks.map(({ name }) => name));
    this.#board.set("agent", "", agentItem(status, hostname()));
    const most = Math.floor(MAX_PEERS / Math.max(1, status.networks.length));
    for (const network of status.networks) {
      const devices = this.#devices.get(network.name) ?? new Map<string, string>();
      const peers = networks.find(({ name }) => name === network.name)?.peers ?? [];
      this.#board.replace("peer", network.name, peerItems(peers, network, devices, most));
      const more = Math.max(0, peers.length - most);
      this.#board.set("network", network.name, networkItem(network, [...new Set(devices.values())].sort(), more));
      const sample = sampleOf(network.name, peers, network, Date.now());
      if (sample !== undefined) this.#board.addSample(sample);
    }
    markRead();
    return STATUS_EVERY_MS;
  }

  async #lookAtPlan(signal: AbortSignal): Promise<void> {
    const request = { method: "GET", path: controlPaths.plan, schema: planSchema } as const;
    const { options } = this.#invocation;
    const { networks } = ofNamedNetwork(await askAgent(options.socketPaths, request, signal), options);
    this.#devices.clear();
    for (const network of networks) {
      this.#devices.set(network.name, devicesOf(network.desired));
      this.#board.set("plan", network.name, planItem(network));
    }
  }

  async #lookAtRules(signal: AbortSignal): Promise<void> {
    const request = { method: "GET", path: controlPaths.rules, schema: rulesSchema } as const;
    const { options } = this.#invocation;
    const { networks } = ofNamedNetwork(await askAgent(options.socketPaths, request, signal), options);
    for (const network of networks) this.#board.set("rules", network.name, rulesItem(network));
  }

  /** Ends, with an error, when the agent does; then it is begun again. */
  async #followJournal(signal: AbortSignal, markRead: () => void): Promise<number> {
    const invocation = { ...this.#invocation, signal };
    const socketPath = await answering(invocation);
    const { startedAt, entries } = await askAgent([socketPath], historyRequest, signal);
    const isSameRun = this.#lastEntry?.startedAt === startedAt;
    const after = isSameRun ? (this.#lastEntry?.sequence ?? 0) : 0;
    for (const entry of entries.filter(({ sequence }) => sequence > after).slice(-OLD_ENTRIES)) {
      this.#board.addEntry(entryItem(entry));
    }
    this.#lastEntry = { startedAt, sequence: entries.at(-1)?.sequence ?? after };
    markRead();
    for await (const entry of followEvents(socketPath, this.#lastEntry.sequence, signal)) {
      this.#board.addEntry(entryItem(entry));
      this.#lastEntry = { startedAt, sequence: entry.sequence };
    }
    return 0;
  }
}
