// What `flannelctl dashboard` sends to its page: a line of JSON for each message. Shapes only, for both ends. Each text in
// them is printable already, and none is longer than a few thousand characters.

/** The first message holds all items; a later one those that changed. */
export interface FeedMessage {
  /** The items in it are all there are: what the page had is no longer. */
  readonly isWhole?: true;
  readonly items?: readonly FeedItem[];
  /** New ones, oldest first. */
  readonly entries?: readonly EntryItem[];
  /** New ones, oldest first. */
  readonly samples?: readonly SampleItem[];
}

/** Kind, network (empty for what there is once), and a key where there are several; null: it is gone. */
export type FeedItem = {
  [Kind in keyof ItemKinds]: readonly [Kind, string, string, ItemKinds[Kind] | null];
}[keyof ItemKinds];

export interface ItemKinds {
  readonly agent: AgentItem;
  readonly source: SourceItem;
  readonly network: NetworkItem;
  readonly peer: PeerItem;
  readonly plan: PlanItem;
  readonly rules: RulesItem;
  readonly space: SpaceItem;
  readonly doctor: DoctorItem;
  /** Of another host, by its address; of no network. */
  readonly host: HostItem;
  readonly matrix: MatrixItem;
  /** By the key of the lease of the host that sees. */
  readonly row: RowItem;
}

export type AgentState = "ready" | "degraded" | "notReady";

interface Reason {
  readonly name: string;
  readonly message: string;
}

export interface AgentItem {
  readonly host: string;
  readonly version: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly state: AgentState;
  readonly stateChangedAt: string;
  readonly pendingState?: AgentState;
  readonly reasons: readonly Reason[];
  readonly store: { readonly description: string; readonly connected: boolean; readonly problem?: string };
}

/** `agent`, `plan`, `rules`, `store`, `doctor`, `journal`, `hosts`: when it was last read, and why not since. */
export interface SourceItem {
  readonly readAt?: string;
  readonly problem?: string;
}

export interface LeaseItem {
  readonly key: string;
  readonly subnets: readonly string[];
  readonly host?: string;
  readonly backendType?: string;
  readonly isReserved: boolean;
  readonly isOwn: boolean;
  readonly expiresAt?: string;
}

export interface NetworkItem {
  readonly state?: AgentState;
  readonly reasons: readonly Reason[];
  readonly backendType?: string;
  readonly mtuBytes?: number;
  readonly externalInterface?: {
    readonly name: string;
    readonly mtuBytes: number;
    readonly addresses: readonly string[];
  };
  readonly ownSubnets: readonly string[];
  readonly isWarmStart: boolean;
  readonly revision?: string;
  readonly peers: { readonly known: number; readonly desired: number; readonly programmed: number };
  /** Peers that are not among the items: there are too many. */
  readonly morePeers: number;
  /** Absent: probes are off. */
  readonly probes?: { readonly intervalSeconds: number; readonly problem?: string };
  readonly failures: readonly { readonly object: string; readonly error: string; readonly attempts: number }[];
  readonly repairs: {
    readonly total: number;
    readonly last: readonly { readonly repairedAt: string; readonly object: string; readonly action: string }[];
  };
  /** Devices that routes to peers go through. */
  readonly devices: readonly string[];
}

export type PeerState =
  | "down"
  | "oneWay"
  | "mtuBroken"
  | "suspect"
  | "pending"
  | "skipped"
  | "slow"
  | "unknown"
  | "programmed"
  | "up";

export interface PeerItem {
  readonly key: string;
  readonly subnets: readonly string[];
  readonly host?: string;
  readonly state: PeerState;
  readonly reason?: string;
  readonly since?: string;
  readonly rttSeconds?: { readonly p50: number; readonly p99: number };
  readonly lossRatio?: number;
  /** Of packets to its containers, as the route says. */
  readonly mtuBytes?: number;
  /** What the path carries: at all, and in one piece outside of the tunnel. */
  readonly pathMtu?: { readonly overlayBytes: number; readonly wholeBytes: number };
  readonly receivedBytes?: number;
  readonly sentBytes?: number;
  readonly endpoint?: string;
  readonly changedAt?: string;
  /** Which device the route of its subnet names. */
  readonly device?: string;
}

export interface PlanItem {
  readonly desired: readonly string[];
  readonly desiredCount: number;
  /** `+` is added, `-` is removed. */
  readonly difference: readonly string[];
  readonly differenceCount: number;
}

export interface RulesItem {
  readonly mode: string;
  readonly reason: string;
  readonly wanted: readonly string[];
  readonly difference: readonly string[];
}

/** `free`: nobody; `own`: this host, perhaps beside others; `mixed`: part of the cell is free. */
export type CellUse = "free" | "leased" | "reserved" | "own" | "mixed";

export interface SpaceCell {
  /** First subnet, or first address of several. */
  readonly from: string;
  readonly use: CellUse;
  /** Leases that have a part of it. */
  readonly leases: readonly string[];
  /** Of those how many there are. */
  readonly count: number;
}

export interface PoolItem {
  readonly network: string;
  readonly subnetLength: number;
  readonly subnetMin: string;
  readonly subnetMax: string;
  /** Subnets that can be leased, those that are, and those without a lease; decimal, since IPv6 has more than a number holds. */
  readonly total: string;
  readonly taken: string;
  readonly free: string;
  /** Subnets that a cell stands for; decimal. */
  readonly subnetsPerCell: string;
  readonly cells: readonly SpaceCell[];
  /** Leases of this family that are not in the pool. */
  readonly strays: readonly string[];
}

export interface SpaceItem {
  /** `agent`: only its leases are known, neither reservations nor the pool. */
  readonly source: "store" | "agent";
  readonly pools: readonly PoolItem[];
  readonly leases: readonly LeaseItem[];
  readonly moreLeases: number;
  /** Why there is no map. */
  readonly problem?: string;
}

interface FindingItem {
  readonly code: string;
  readonly severity: "error" | "warning";
  readonly summary: string;
  readonly meaning?: string;
  readonly evidence: readonly string[];
  readonly remedies: readonly string[];
  readonly explains: readonly string[];
}

export interface DoctorItem {
  readonly checked: number;
  readonly findings: readonly FindingItem[];
  readonly unknown: readonly { readonly code: string; readonly reason: string }[];
  readonly durationSeconds: number;
  readonly agent: "running" | "absent" | "silent";
}

/** What another host told of itself. */
export interface HostItem {
  readonly name?: string;
  readonly leases: readonly string[];
  /** When it answered last; absent: it never did. */
  readonly toldAt?: string;
  /** When it was asked last; absent: not yet. */
  readonly askedAt?: string;
  /** Why it did not answer then. */
  readonly problem?: string;
  readonly agent?: DoctorItem["agent"];
  readonly findings: readonly Pick<FindingItem, "code" | "severity" | "summary" | "evidence" | "remedies">[];
  readonly moreFindings: number;
  /** What it could not look at. */
  readonly unknown: number;
}

/** `absent`: the host does not know this lease. */
export interface SeenItem {
  readonly state: PeerState | "absent";
  /** Of one way, where packets get lost: `out`, those of the host that sees do not arrive there. */
  readonly direction?: "in" | "out";
  readonly reason?: string;
  readonly since?: string;
  readonly rttSeconds?: number;
  readonly lossRatio?: number;
  readonly mtuBytes?: number;
}

export interface PairItem extends SeenItem {
  readonly from: string;
  readonly to: string;
  /** How the other one sees this one; absent: it told nothing. */
  readonly back?: SeenItem["state"];
}

export interface MatrixItem {
  /** Hosts with a lease, and those of them that told whom they see. */
  readonly total: number;
  readonly told: number;
  /** Those that have a row and a column, by the keys of their leases. */
  readonly shown: readonly string[];
  /** Of all pairs: how many have trouble; hosts that all who tell see down; and of the other pairs the worst. */
  readonly troubled: number;
  readonly unreached: readonly { readonly key: string; readonly witnesses: number }[];
  readonly pairs: readonly PairItem[];
}

export interface RowItem {
  readonly name?: string;
  readonly address?: string;
  /** When the host told it; absent: it told nothing. */
  readonly toldAt?: string;
  /** By key; of hosts that are shown. */
  readonly seen: Readonly<Record<string, SeenItem>>;
}

export interface EntryItem {
  /** Grows; of this dashboard. */
  readonly id: number;
  readonly at: string;
  readonly event: string;
  readonly level: "error" | "warn" | "info" | "detail";
  readonly message: string;
  /** Because of what, and by whom. */
  readonly cause?: string;
  readonly leftOut?: number;
}

/** One look at the peers of a network. */
export interface SampleItem {
  readonly network: string;
  readonly atMs: number;
  readonly peers: number;
  /** Of them down, one way or MTU broken. */
  readonly bad: number;
  /** Median over the peers, and the worst of them; null without an answer. */
  readonly rttP50Ms: number | null;
  readonly rttWorstMs: number | null;
  /** Over all probes that were looked at last. */
  readonly lossPercent: number | null;
}
