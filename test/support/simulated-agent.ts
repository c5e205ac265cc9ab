// Answers on a control socket like an agent with any number of peers, whose probes go on: for what shows agents to people.
import type { ServerResponse } from "node:http";
import { controlPaths } from "../../src/agent/control/control-paths.ts";
import type { NetworkStatus, Plan, Rules, Status } from "../../src/agent/control/control-protocol.ts";
import type { History, Peer, Peers } from "../../src/agent/control/journal-protocol.ts";
import { healthyNetwork, healthyStatus, replyJson, StandInAgent } from "./flannelctl.ts";

export interface SimulatedAgentOptions {
  readonly peers: number;
  readonly networks?: readonly string[];
  /** Stands in every text that others write: leases, hosts, reasons, events. */
  readonly hostile?: string;
}

type Entry = History["entries"][number];

export class SimulatedAgent implements AsyncDisposable {
  readonly #options: SimulatedAgentOptions;
  readonly #states = new Map<number, Peer["state"]>();
  readonly #followers = new Set<ServerResponse>();
  readonly #entries: Entry[] = [];
  #server: StandInAgent | undefined;
  /** Grows with each look at the peers: a twelfth of them has another round trip each time, as with 40 probes a second. */
  #looks = 0;
  difference: readonly string[] = [];

  private constructor(options: SimulatedAgentOptions) {
    this.#options = options;
    this.tell("agent.ready", "ready");
  }

  static async listen(socketPath: string, options: SimulatedAgentOptions): Promise<SimulatedAgent> {
    const agent = new SimulatedAgent(options);
    agent.#server = await StandInAgent.listen(socketPath, (path, response) => agent.#answer(path, response));
    return agent;
  }

  /** What was asked so far. */
  get requests(): readonly string[] {
    return this.#server?.requests ?? [];
  }

  setState(number: number, state: Peer["state"]): void {
    this.#states.set(number, state);
  }

  tell(event: string, message: string, level: Entry["level"] = "info"): void {
    const sequence = this.#entries.length + 1;
    const entry: Entry = {
      sequence,
      at: new Date().toISOString(),
      event,
      level,
      message: this.#text(message),
      fields: {},
    };
    this.#entries.push(entry);
    for (const follower of this.#followers) follower.write(`${JSON.stringify(entry)}\n`);
  }

  #answer(url: string, response: ServerResponse): void {
    const [path] = url.split("?");
    if (path === controlPaths.events) {
      response.writeHead(200, { "content-type": "application/x-ndjson" }).flushHeaders();
      this.#followers.add(response);
      response.once("close", () => this.#followers.delete(response));
      return;
    }
    const answers: Readonly<Record<string, () => unknown>> = {
      [controlPaths.status]: () => this.#status(),
      [controlPaths.peers]: () => this.#peers(),
      [controlPaths.plan]: () => this.#plan(),
      [controlPaths.rules]: () => this.#rules(),
      [controlPaths.history]: (): History => ({ startedAt: healthyStatus.agent.startedAt, entries: this.#entries }),
    };
    const answer = answers[path ?? ""];
    if (answer === undefined) replyJson(response, {}, 404);
    else replyJson(response, answer());
  }

  get #names(): readonly string[] {
    return this.#options.networks ?? [healthyNetwork.name];
  }

  #text(text: string): string {
    return this.#options.hostile === undefined ? text : `${text} ${this.#options.hostile}`;
  }

  #peer(number: number): Peer {
    const state = this.#states.get(number) ?? "up";
    const isAnswering = state === "up" || state === "slow" || state === "mtuBroken";
    // Only every twelfth look measures a peer.
    const measured = Math.floor((this.#looks + number) / 12);
    const rtt = 0.0003 + ((number * 7 + measured * 13) % 40) / 50_000;
    return {
      key: this.#text(`10.${64 + (number >> 8)}.${number & 255}.0-24`),
      subnet: `10.${64 + (number >> 8)}.${number & 255}.0/24`,
      publicIp: this.#text(`192.168.${number >> 6}.${(number & 63) + 1}`),
      backendType: this.#text("vxlan"),
      revision: String(1_000 + number),
      state,
      ...(state !== "up" && {
        reason: this.#text("the probes of this path say so"),
        stateSince: "2026-03-01T10:00:00.000Z",
      }),
      ...(isAnswering && { rttSeconds: { p50: state === "slow" ? 0.06 : rtt, p99: state === "slow" ? 0.2 : rtt * 3 } }),
      lossRatio: isAnswering ? 0 : 1,
      mtuBytes: 1450,
      changedAt: "2026-03-01T10:00:00.000Z",
    };
  }

  #allPeers(): Peer[] {
    return Array.from({ length: this.#options.peers }, (_, number) => this.#peer(number));
  }

  #peers(): Peers {
    this.#looks++;
    const peers = this.#allPeers();
    return { networks: this.#names.map((name) => ({ name, peers })) };
  }

  #status(): Status {
    const peers = this.#allPeers();
    const many = { known: peers.length, desired: peers.length, programmed: peers.length, skipped: [] };
    const probes = probesOf(peers);
    const networks = this.#names.map((name): NetworkStatus => ({ ...healthyNetwork, name, peers: many, probes }));
    const down = peers.filter(({ state }) => state === "down").length;
    const reasons = [{ name: "peers-down", state: "degraded", message: this.#text(`${down} peers are down`) } as const];
    return { ...healthyStatus, ...(down > 0 && { state: "degraded", reasons }), networks };
  }

  #plan(): Plan {
    const desired = this.#allPeers().flatMap(({ subnet = "", publicIp = "" }, number) => {
      const gateway = subnet.replace("/24", "");
      const mac = `02:00:00:00:${(number >> 8).toString(16).padStart(2, "0")}:${(number & 255).toString(16).padStart(2, "0")}`;
      const routes = [
        `${subnet} via ${gateway} dev flannel.1 onlink`,
        `${gateway} dev flannel.1 lladdr ${mac} PERMANENT`,
      ];
      return [...routes, `${mac} dev flannel.1 dst ${publicIp} self permanent`];
    });
    const own = "flannel.1 mtu 1450 type vxlan id 1 local 192.0.2.11 dev eth0 dstport 8472 nolearning";
    return {
      networks: this.#names.map((name) => ({ name, desired: [own, ...desired], difference: [...this.difference] })),
    };
  }

  #rules(): Rules {
    const wanted = [
      "add table ip flannel",
      "add chain ip flannel postrouting { type nat hook postrouting priority 100 ; }",
    ];
    const rules = { mode: "nftables", reason: this.#text("nft is there"), wanted, found: wanted, difference: [] };
    return { networks: this.#names.map((name) => ({ name, ...rules })) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
  }
}

function probesOf(peers: readonly Peer[]): NonNullable<NetworkStatus["probes"]> {
  const states = { up: 0, slow: 0, mtuBroken: 0, suspect: 0, oneWay: 0, down: 0, unknown: 0 };
  const paths: NonNullable<NetworkStatus["probes"]>["paths"] = peers.map((peer) => {
    const state = peer.state in states ? (peer.state as keyof typeof states) : "unknown";
    states[state]++;
    return {
      peer: peer.key,
      subnet: peer.subnet ?? "",
      state,
      since: "2026-03-01T10:00:00.000Z",
      signature: state === "down" ? "underlay- tunnel- bridge-" : "underlay+ tunnel+ bridge+",
      sent: 60,
      lost: Math.round(60 * (peer.lossRatio ?? 0)),
      ...(peer.rttSeconds !== undefined && { rttSeconds: peer.rttSeconds }),
      mtu: { underlayBytes: 1500, overlayBytes: state === "mtuBroken" ? 1300 : 1450, wholeBytes: 1450, ageSeconds: 9 },
    };
  });
  return { intervalSeconds: 1, states, paths };
}
