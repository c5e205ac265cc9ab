// Asks the other hosts of a small cluster whom they see and what their doctor finds, through the store and with this host's
// certificate, as `flannelctl doctor --peer` does. A few at once, and each not often: in a large network a round takes minutes.
import { hostname } from "node:os";
import type { HostItem } from "../../../dashboard/messages.ts";
import { describeError } from "../../../errors.ts";
import type { ClusterClient } from "../../../flannel-store/membership/cluster-client.ts";
import { askMember, memberClient } from "../doctor/peer-report.ts";
import { shortView } from "../doctor/peer-view.ts";
import type { DoctorOutput } from "../session/doctor-output.ts";
import type { Invocation } from "../session/invocation.ts";
import type { AgentLooks } from "./agent-looks.ts";
import type { Board } from "./board.ts";
import { type KnownHosts, knownHosts, type OtherHost } from "./known-hosts.ts";
import type { LookLoop } from "./look-loop.ts";
import { shortText } from "./short-text.ts";
import { Sightings } from "./sightings.ts";
import type { StoreLook } from "./store-look.ts";

const LOOK_EVERY_MS = 2_000;
/** A look at a million pairs may take a twentieth of the time. */
const LOOK_COST_SHARE = 20;
const ASKED_AT_ONCE = 4;
/** Of one host; its doctor may take no more than a tenth of the time. */
const LEAST_PAUSE_MS = 15_000;
const COST_SHARE = 10;
const MOST_PAUSE_MS = 300_000;
/** Of more, those that this host does not reach come first. */
const MAX_HOSTS = 1_000;
const MAX_FINDINGS = 10;
const MAX_EVIDENCE = 2;
const OWN_VIEW_BYTES = 1_024 * 1_024;

interface Asked {
  item: HostItem;
  /** Of `performance.now()`; 0: never asked. */
  nextAtMs: number;
  failures: number;
  /** Among equals, so that no two dashboards ask in the same order. */
  readonly order: number;
  isBeingAsked: boolean;
}

type Report = Omit<DoctorOutput, "peer" | "fixes" | "undone">;

export class ClusterLook {
  readonly #board: Board;
  readonly #agent: AgentLooks;
  readonly #store: StoreLook;
  readonly #client: ClusterClient | undefined;
  /** By address. */
  readonly #asked = new Map<string, Asked>();
  /** By network. */
  readonly #sightings = new Map<string, Sightings>();

  constructor(invocation: Invocation, board: Board, agent: AgentLooks, store: StoreLook) {
    this.#board = board;
    this.#agent = agent;
    this.#store = store;
    const { etcd, paths } = invocation.options;
    // Elsewhere a certificate is for etcd, which cannot ask anybody.
    this.#client = etcd.certFile === paths.certFile ? memberClient(invocation.options) : undefined;
  }

  /** None outside of a small cluster. */
  get loops(): readonly LookLoop[] {
    const client = this.#client;
    if (client === undefined) return [];
    return [{ source: "hosts", look: (signal, markRead) => this.#look(client, signal, markRead) }];
  }

  #look(client: ClusterClient, signal: AbortSignal, markRead: () => void): Promise<number> {
    const known = knownHosts(this.#agent, this.#store.leases);
    const others = this.#remember(known.others);
    const startMs = performance.now();
    this.#keep(known);
    this.#putOwn();
    this.#show(known);
    markRead();
    this.#askDue(client, others, signal);
    return Promise.resolve(Math.max(LOOK_EVERY_MS, (performance.now() - startMs) * LOOK_COST_SHARE));
  }

  /** Those that are gone are forgotten. */
  #remember(others: readonly OtherHost[]): readonly OtherHost[] {
    const first = others.toSorted((a, b) => Number(b.isInTrouble) - Number(a.isInTrouble)).slice(0, MAX_HOSTS);
    const addresses = new Set(first.map(({ address }) => address));
    for (const address of this.#asked.keys()) if (!addresses.has(address)) this.#asked.delete(address);
    for (const { address, leases } of first) {
      const before = this.#asked.get(address);
      if (before === undefined) {
        const item = { leases, findings: [], moreFindings: 0, unknown: 0 };
        this.#asked.set(address, { item, nextAtMs: 0, failures: 0, order: Math.random(), isBeingAsked: false });
      } else before.item = { ...before.item, leases };
    }
    return first;
  }

  /** What this host sees is known without asking. */
  #putOwn(): void {
    for (const network of this.#agent.status?.networks ?? []) {
      const { name } = network;
      const peers = this.#agent.peers.find((one) => one.name === name)?.peers;
      if (peers === undefined) continue;
      const view = shortView(network, peers, OWN_VIEW_BYTES);
      this.#sightingsOf(name).put(view, hostname(), this.#agent.readAtMs);
    }
  }

  #sightingsOf(network: string): Sightings {
    const sightings = this.#sightings.get(network) ?? new Sightings();
    this.#sightings.set(network, sightings);
    return sightings;
  }

  #keep({ networks }: KnownHosts): void {
    for (const name of this.#sightings.keys()) if (!networks.has(name)) this.#sightings.delete(name);
    for (const [name, hosts] of networks) this.#sightingsOf(name).keep(new Set(hosts.map(({ key }) => key)));
  }

  #show({ networks }: KnownHosts): void {
    for (const [name, hosts] of networks) {
      const sightings = this.#sightingsOf(name);
      const own = this.#agent.status?.networks.find((network) => network.name === name)?.lease?.key;
      const { matrix, rows } = sightings.matrix(hosts, own);
      this.#board.replace("row", name, rows);
      this.#board.set("matrix", name, matrix);
    }
    this.#board.replace("host", "", new Map([...this.#asked].map(([address, { item }]) => [address, item])));
  }

  /** Never asked ones first, of these those that this host does not reach; then who was asked longest ago. */
  #askDue(client: ClusterClient, others: readonly OtherHost[], signal: AbortSignal): void {
    const asked = [...this.#asked.values()];
    const free = ASKED_AT_ONCE - asked.filter(({ isBeingAsked }) => isBeingAsked).length;
    const nowMs = performance.now();
    const due = others
      .flatMap(({ address, isInTrouble }) => {
        const one = this.#asked.get(address);
        return one === undefined || one.isBeingAsked || one.nextAtMs > nowMs ? [] : [{ address, isInTrouble, one }];
      })
      .sort(
        (a, b) =>
          a.one.nextAtMs - b.one.nextAtMs || Number(b.isInTrouble) - Number(a.isInTrouble) || a.one.order - b.one.order,
      );
    for (const { address, one } of due.slice(0, free)) {
      one.isBeingAsked = true;
      // What it found is on the board with the next look. Never rejects.
      this.#ask(client, address, one, signal).catch(() => undefined);
    }
  }

  async #ask(client: ClusterClient, address: string, one: Asked, signal: AbortSignal): Promise<void> {
    const askedAt = new Date().toISOString();
    try {
      const { host: told, report, reason } = await askMember(client, address, signal);
      const host = shortText(told);
      if (report === undefined) {
        one.item = { ...one.item, name: host, askedAt, problem: shortText(reason ?? "it told nothing") };
        this.#postpone(one);
        return;
      }
      one.item = { ...hostItem(report, one.item.leases), name: host, askedAt, toldAt: new Date().toISOString() };
      one.failures = 0;
      one.nextAtMs = performance.now() + Math.max(LEAST_PAUSE_MS, report.durationSeconds * 1_000 * COST_SHARE);
      for (const view of report.view ?? []) {
        // A host speaks for itself alone.
        if (view.lease === undefined || !one.item.leases.includes(view.lease)) continue;
        if (this.#sightings.has(view.network)) this.#sightingsOf(view.network).put(view, host, Date.now());
      }
    } catch (error) {
      if (signal.aborted) return;
      one.item = { ...one.item, askedAt, problem: shortText(describeError(error)) };
      this.#postpone(one);
    } finally {
      one.isBeingAsked = false;
    }
  }

  #postpone(one: Asked): void {
    one.nextAtMs = performance.now() + Math.min(MOST_PAUSE_MS, LEAST_PAUSE_MS * 2 ** one.failures);
    one.failures++;
  }
}

function hostItem({ agent, findings, unknown }: Report, leases: readonly string[]): HostItem {
  return {
    leases,
    agent,
    findings: findings.slice(0, MAX_FINDINGS).map(({ code, severity, summary, evidence, remedy }) => ({
      ...{ code: shortText(code), severity, summary: shortText(summary) },
      evidence: evidence.slice(0, MAX_EVIDENCE).map(({ value }) => shortText(value)),
      remedies: [remedy.command, ...remedy.others].slice(0, MAX_EVIDENCE).map(shortText),
    })),
    moreFindings: Math.max(0, findings.length - MAX_FINDINGS),
    unknown: unknown.length,
  };
}
