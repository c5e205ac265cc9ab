// Who sees whom how: what hosts told of each other, as the matrix of the dashboard. Of a large network the hosts with most trouble
// are shown. Hosts are known by the keys of their leases. Pure.
import type { MatrixItem, PairItem, RowItem, SeenItem } from "../../../dashboard/messages.ts";
import { troubleOf } from "../../../dashboard/pair-words.ts";
import type { PeerView, SeenPeer } from "../session/doctor-output.ts";
import { shortText } from "./short-text.ts";

/** More rows and columns are too many to read. */
export const MAX_SHOWN = 40;
/** A host may hear of a lease a little later. */
const KNOWN_AFTER_MS = 5_000;
/** Of each host, the worst first. */
const MAX_REASONS = 50;
const MAX_PAIRS = 50;
/** One host that reaches another one not may be to blame itself. */
const LEAST_WITNESSES = 2;
/** Of each host: keys that it told and that nobody here knows yet. */
const MAX_UNKNOWN = 100;

export interface MatrixHost {
  /** Of its lease. */
  readonly key: string;
  readonly address?: string;
  /** When its lease changed last, as far as this host knows; Unix time. */
  readonly changedAtMs?: number;
}

type Why = Pick<SeenPeer, "reason" | "since" | "direction">;

/** Numbers in typed arrays: a thousand hosts tell a million pairs. */
interface Row {
  readonly name: string;
  readonly atMs: number;
  /** No peer of the host was left out. */
  readonly isWhole: boolean;
  readonly states: Uint8Array;
  readonly rttSeconds: Float32Array;
  readonly lossRatios: Float32Array;
  readonly mtuBytes: Uint16Array;
  readonly reasons: ReadonlyMap<number, Why>;
  /** What it told of them is not kept; but they are not absent there. */
  readonly unknown: ReadonlySet<string>;
}

/** Index is what `states` holds; 0: the host told nothing of it. */
const codes = [
  ...["none", "up", "programmed", "slow", "unknown", "pending", "skipped", "suspect", "mtuBroken", "oneWay", "down"],
] as const;
const codeOf: ReadonlyMap<string, number> = new Map(codes.map((state, code) => [state, code]));

export class Sightings {
  readonly #numbers = new Map<string, number>();
  /** By key of the lease of the host that told. */
  readonly #rows = new Map<string, Row>();
  /** Of the last `keep`; undefined: there was none, and all are taken. */
  #kept: ReadonlySet<string> | undefined;

  /** `name`: of the host that told, at `atMs` in Unix time. No host makes others' keys forgotten by telling many of its own. */
  put({ lease, peers: told, morePeers }: Omit<PeerView, "network">, name: string, atMs: number): void {
    if (lease === undefined) return;
    const isKnown = ({ key }: SeenPeer) => this.#kept?.has(key) !== false;
    const peers = told.filter(isKnown);
    const unknown = new Set<string>();
    for (const peer of told) if (unknown.size < MAX_UNKNOWN && !isKnown(peer)) unknown.add(shortText(peer.key));
    const numbers = peers.map(({ key }) => this.#numberOf(key));
    const length = this.#numbers.size;
    const states = new Uint8Array(length);
    const [rttSeconds, lossRatios] = [new Float32Array(length).fill(-1), new Float32Array(length).fill(-1)];
    const mtuBytes = new Uint16Array(length);
    const reasons = new Map<number, Why>();
    peers.forEach((peer, index) => {
      const number = numbers[index] ?? 0;
      states[number] = codeOf.get(peer.state) ?? 0;
      rttSeconds[number] = peer.rttSeconds ?? -1;
      lossRatios[number] = peer.lossRatio ?? -1;
      mtuBytes[number] = peer.mtuBytes ?? 0;
      if (peer.state !== "up" && reasons.size < MAX_REASONS) reasons.set(number, shortWhy(peer));
    });
    const isWhole = morePeers === 0;
    this.#rows.set(lease, { name, atMs, isWhole, states, rttSeconds, lossRatios, mtuBytes, reasons, unknown });
  }

  /** Forgets what hosts told that are not among these, and takes from now on only what they tell of each other. */
  keep(keys: ReadonlySet<string>): void {
    this.#kept = keys;
    for (const key of this.#rows.keys()) if (!keys.has(key)) this.#rows.delete(key);
    if (this.#numbers.size < 2 * keys.size + MAX_SHOWN) return;
    // The keys of leases that are long gone: within a round the hosts answer again.
    this.#numbers.clear();
    this.#rows.clear();
  }

  /** `hosts`: each with a lease, in the order in which they are shown; `own`: always among those that are. */
  matrix(
    hosts: readonly MatrixHost[],
    own: string | undefined,
  ): { readonly matrix: MatrixItem; readonly rows: ReadonlyMap<string, RowItem> } {
    const ends = hosts.map((host): End => {
      const number = this.#numbers.get(host.key) ?? -1;
      return { ...host, number, row: this.#rows.get(host.key) };
    });
    const { byHost, worst, unreached, troubled } = troublesOf(ends);
    const shown = pickShown(ends, byHost, own);
    return {
      matrix: {
        total: ends.length,
        told: ends.filter(({ row }) => row !== undefined).length,
        shown: shown.map(({ key }) => key),
        troubled,
        unreached: unreached.slice(0, MAX_PAIRS),
        pairs: worst.flatMap(({ from, to }) => pairItem(from, to)),
      },
      rows: new Map(shown.map((end) => [end.key, rowItem(end, shown)])),
    };
  }

  #numberOf(key: string): number {
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const number = this.#numbers.size;
    this.#numbers.set(key, number);
    return number;
  }
}

function shortWhy({ reason, since, direction }: Why): Why {
  return {
    ...(direction !== undefined && { direction }),
    ...(reason !== undefined && { reason: shortText(reason) }),
    ...(since !== undefined && { since: shortText(since) }),
  };
}

/** A host as one end of a pair. */
interface End extends MatrixHost {
  readonly number: number;
  readonly row: Row | undefined;
}

function stateOf({ row, key }: End, to: End): SeenItem["state"] | undefined {
  if (row === undefined || key === to.key) return undefined;
  const code = row.states[to.number] ?? 0;
  if (code > 0) return codes[code] as SeenItem["state"];
  if (row.unknown.has(to.key)) return undefined;
  return row.isWhole && row.atMs > (to.changedAtMs ?? 0) + KNOWN_AFTER_MS ? "absent" : undefined;
}

function seenItem(from: End, to: End): SeenItem | undefined {
  const state = stateOf(from, to);
  const { row } = from;
  if (row === undefined || state === undefined) return undefined;
  const { [to.number]: rttSeconds = -1 } = row.rttSeconds;
  const { [to.number]: lossRatio = -1 } = row.lossRatios;
  const { [to.number]: mtuBytes = 0 } = row.mtuBytes;
  const { reason, since, direction } = row.reasons.get(to.number) ?? {};
  return {
    state,
    ...(rttSeconds >= 0 && { rttSeconds: round(rttSeconds, 6) }),
    ...(lossRatio >= 0 && { lossRatio: round(lossRatio, 4) }),
    ...(mtuBytes > 0 && { mtuBytes }),
    ...(direction !== undefined && { direction }),
    ...(reason !== undefined && { reason }),
    ...(since !== undefined && { since }),
  };
}

const isTrouble: ReadonlySet<string> = new Set(["suspect", "mtuBroken", "oneWay", "down", "absent"]);

interface Trouble {
  readonly from: End;
  readonly to: End;
  readonly weight: number;
}

/** How much each host has to do with, whom nobody reaches, and the worst other pairs. Looks at a million pairs. */
function troublesOf(ends: readonly End[]) {
  const byHost = new Map<string, number>();
  const worst: Trouble[] = [];
  const unreached: { key: string; witnesses: number }[] = [];
  const telling = ends.filter(({ row }) => row !== undefined);
  let troubled = 0;
  for (const to of ends) {
    const { troubles, views, downs } = troublesTo(to, telling);
    troubled += troubles.length;
    for (const { from, weight } of troubles) {
      for (const { key } of [from, to]) byHost.set(key, (byHost.get(key) ?? 0) + weight);
    }
    if (downs >= LEAST_WITNESSES && downs === views) unreached.push({ key: to.key, witnesses: downs });
    else for (const one of troubles) insert(worst, one);
  }
  return { byHost, worst, unreached, troubled };
}

function troublesTo(to: End, telling: readonly End[]) {
  const troubles: Trouble[] = [];
  let [views, downs] = [0, 0];
  for (const from of telling) {
    const state = stateOf(from, to);
    if (state === undefined) continue;
    views++;
    if (state === "down") downs++;
    if (isTrouble.has(state)) troubles.push({ from, to, weight: troubleOf({ state, back: stateOf(to, from) }) });
  }
  return { troubles, views, downs };
}

function pairItem(from: End, to: End): PairItem[] {
  const seen = seenItem(from, to);
  const back = stateOf(to, from);
  return seen === undefined ? [] : [{ from: from.key, to: to.key, ...seen, ...(back !== undefined && { back }) }];
}

function rowItem(end: End, columns: readonly End[]): RowItem {
  const { address, row } = end;
  const seen = columns.flatMap((column) => {
    const one = seenItem(end, column);
    return one === undefined ? [] : [[column.key, one] as const];
  });
  return {
    ...(address !== undefined && { address }),
    ...(row !== undefined && { name: row.name, toldAt: new Date(row.atMs).toISOString() }),
    seen: Object.fromEntries(seen),
  };
}

/** Worst first, of equal ones the earlier. */
function insert(worst: Trouble[], one: Trouble): void {
  if (worst.length >= MAX_PAIRS && one.weight <= (worst.at(-1)?.weight ?? 0)) return;
  const at = worst.findIndex(({ weight }) => weight < one.weight);
  worst.splice(at < 0 ? worst.length : at, 0, one);
  if (worst.length > MAX_PAIRS) worst.pop();
}

function pickShown(ends: readonly End[], troubles: ReadonlyMap<string, number>, own: string | undefined) {
  if (ends.length <= MAX_SHOWN) return ends;
  const rankOf = ({ key }: End) => (key === own ? Number.MAX_VALUE : (troubles.get(key) ?? 0));
  const first = new Set(ends.toSorted((a, b) => rankOf(b) - rankOf(a)).slice(0, MAX_SHOWN));
  return ends.filter((end) => first.has(end));
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
