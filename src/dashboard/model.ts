// What the page knows: the items of the feed as they came last. Only what a message names is touched, so that what is drawn
// from an item that stayed need not be drawn again.
import type {
  AgentItem,
  DoctorItem,
  EntryItem,
  FeedMessage,
  HostItem,
  MatrixItem,
  NetworkItem,
  PeerItem,
  PlanItem,
  RowItem,
  RulesItem,
  SampleItem,
  SourceItem,
  SpaceItem,
} from "./messages.ts";

const MAX_ENTRIES = 500;
const MAX_SAMPLES = 3_000;

export interface NetworkModel {
  readonly name: string;
  about?: NetworkItem;
  plan?: PlanItem;
  rules?: RulesItem;
  space?: SpaceItem;
  matrix?: MatrixItem;
  /** By the key of the lease of the host that sees; a new map with each change. */
  readonly rows: ReadonlyMap<string, RowItem>;
  /** By key. */
  readonly peers: Map<string, PeerItem>;
  /** Grows with each change of `peers`. */
  peersVersion: number;
}

export class Model {
  agent: AgentItem | undefined;
  doctor: DoctorItem | undefined;
  /** Others, by address. */
  readonly hosts = new Map<string, HostItem>();
  /** Grows with each change of `hosts`. */
  hostsVersion = 0;
  readonly sources = new Map<string, SourceItem>();
  readonly networks = new Map<string, NetworkModel>();
  /** Oldest first; a new array with each change. */
  entries: readonly EntryItem[] = [];
  samples: readonly SampleItem[] = [];
  /** Of all networks, so that one that comes back has no version that was drawn before. */
  #peersVersion = 0;

  apply({ isWhole, items = [], entries, samples }: FeedMessage): void {
    if (isWhole === true) this.#clear();
    for (const item of items) {
      const [kind, network, id] = item;
      const value = item[3] ?? undefined;
      if (kind === "agent" || kind === "doctor" || kind === "source" || kind === "host")
        this.#applyShared(kind, id, value);
      else this.#applyNetwork(kind, network, id, value);
    }
    if (entries !== undefined) this.entries = [...this.entries, ...entries].slice(-MAX_ENTRIES);
    if (samples !== undefined) this.samples = [...this.samples, ...samples].slice(-MAX_SAMPLES);
  }

  #clear(): void {
    this.agent = undefined;
    this.doctor = undefined;
    this.hosts.clear();
    this.hostsVersion++;
    this.sources.clear();
    this.networks.clear();
    this.entries = [];
    this.samples = [];
  }

  #applyShared(kind: "agent" | "doctor" | "source" | "host", id: string, value: unknown): void {
    if (kind === "agent") this.agent = value as AgentItem | undefined;
    else if (kind === "doctor") this.doctor = value as DoctorItem | undefined;
    else if (kind === "host") {
      setOrDelete(this.hosts, id, value as HostItem | undefined);
      this.hostsVersion++;
    } else setOrDelete(this.sources, id, value as SourceItem | undefined);
  }

  #applyNetwork(kind: string, name: string, id: string, value: unknown): void {
    const network = this.networks.get(name) ?? emptyNetwork(name);
    if (kind === "peer") {
      setOrDelete(network.peers, id, value as PeerItem | undefined);
      network.peersVersion = ++this.#peersVersion;
    }
    const changed = changedNetwork(network, kind, id, value);
    if (isEmpty(changed)) this.networks.delete(name);
    else this.networks.set(name, changed);
  }
}

const partOf = { network: "about", plan: "plan", rules: "rules", space: "space", matrix: "matrix" } as const;

function emptyNetwork(name: string): NetworkModel {
  return { name, peers: new Map<string, PeerItem>(), peersVersion: 0, rows: new Map<string, RowItem>() };
}

function isEmpty({ about, plan, rules, space, matrix, peers, rows }: NetworkModel): boolean {
  return [about, plan, rules, space, matrix].every((part) => part === undefined) && peers.size + rows.size === 0;
}

function changedNetwork(network: NetworkModel, kind: string, id: string, value: unknown): NetworkModel {
  if (kind !== "row") return isPart(kind) ? { ...network, [partOf[kind]]: value } : network;
  const rows = new Map(network.rows);
  setOrDelete(rows, id, value as RowItem | undefined);
  return { ...network, rows };
}

function isPart(kind: string): kind is keyof typeof partOf {
  return Object.hasOwn(partOf, kind);
}

function setOrDelete<T>(map: Map<string, T>, key: string, value: T | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
