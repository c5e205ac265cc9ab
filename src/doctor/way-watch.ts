// Keeps asking the kernel for the ways to and from all peers: new peers at once, all of them when routes, rules, addresses or
// settings change and now and then, in slices that let other work pass. Bounded: a look at 10,000 peers takes about half a
// second of processor time, and is not repeated before ten times as long has passed.
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { ReconcileLoop } from "../async/reconcile-loop.ts";
import { describeError } from "../errors.ts";
import type { Address, Prefix } from "../ip/address.ts";
import { isInside, networkOf } from "../ip/prefix.ts";
import { listChanges } from "../list-changes.ts";
import { FLANNEL_PROTOCOL, type RouteMessage } from "../netlink/rtnetlink/messages.ts";
import type { MonitorMessage } from "../netlink/rtnetlink/monitor.ts";
import { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { routeTable } from "../netlink/uapi.ts";
import type { Logger } from "../telemetry/logger.ts";
import {
  isOutside,
  type PlannedWay,
  sampleAddresses,
  type WayContext,
  type WayFault,
  wayFault,
  wayQuestions,
} from "./peer-ways.ts";
import { insideDevicesOf, readWayContext } from "./way-context.ts";
import { type PeerFaults, summarizeWays, type WayReport } from "./way-report.ts";
import { noWayRoutes, readWayRoutes, type WayRoutes } from "./way-routes.ts";

export interface WayWatchOptions {
  readonly networks: readonly Prefix[];
  /** Names of our devices, as of now. */
  readonly ownDevices: () => readonly string[];
  readonly ownSubnets: () => readonly Prefix[];
  /** UDP port to which packets of the tunnel go; undefined: they are no UDP. */
  readonly tunnelPort: () => number | undefined;
  /** Of the agent, stays the caller's; missing: a socket of its own. */
  readonly rtnetlink?: Rtnetlink;
  readonly logger: Logger;
  /** The report may be another now. Must not throw. */
  readonly onChange: () => void;
  /** Between looks at everything without an event; default 60,000, and longer with many peers. */
  readonly auditIntervalMs?: number;
  /** New peers that are looked at before `setWays` resolves; default 128. */
  readonly peersAtOnce?: number;
}

const AUDIT_INTERVAL_MS = 60_000;
/** Beyond some thousand peers the interval grows: a few tenths of a percent of a core at most. */
const AUDIT_MS_PER_PEER = 36;
const DEBOUNCE_MS = 50;
const MIN_PAUSE_MS = 250;
const PAUSE_FACTOR = 10;
/** About 4 ms of look-ups. */
const PEERS_PER_SLICE = 64;
/** Beyond this many slices there is time between them. */
const SLICES_AT_ONCE = 8;
const SLICE_PAUSE_MS = 20;
/** Of new peers, and when a person asks: looked at before the answer. */
const PEERS_AT_ONCE = 128;
const RECHECK_MS = 2_000;

export class WayWatch implements AsyncDisposable {
  readonly #options: WayWatchOptions;
  readonly #netlink: Rtnetlink;
  #planned: readonly PlannedWay[] = [];
  /** Those of `#planned`. */
  readonly #ways = new Map<Prefix, PlannedWay>();
  /** Not looked at since they were planned. */
  readonly #fresh = new Set<Prefix>();
  readonly #faults = new Map<Prefix, PeerFaults>();
  readonly #loop = new ReconcileLoop({
    pass: async () => ({ result: await this.#reporting(() => this.#lookAtDue()) }),
    debounceMs: DEBOUNCE_MS,
  });
  #isAllDue = false;
  #turn = 0;
  #nextAllMs = 0;
  #lastAllMs = 0;
  /** Undefined when it has to be recreated. */
  #report: WayReport | undefined;
  #insideDevices: readonly string[] = [];
  #recheckTimer: NodeJS.Timeout | undefined;
  /** As of the last look at all; a listing of a large routing table takes a quarter of a second. */
  #routes: WayRoutes = noWayRoutes;
  #areRoutesDue = true;
  /** It takes seconds: nobody waits for it. */
  #isLongLook = false;

  private constructor(options: WayWatchOptions, netlink: Rtnetlink) {
    this.#options = options;
    this.#netlink = netlink;
    const auditMs = options.auditIntervalMs ?? AUDIT_INTERVAL_MS;
    this.#loop.start();
    this.#loop.startAudits(auditMs, () => this.#audit(auditMs));
  }

  /** In the calling thread's network namespace. Throws a FlannelError when the kernel refuses a socket. */
  static open(options: WayWatchOptions): WayWatch {
    return new WayWatch(options, options.rtnetlink ?? Rtnetlink.open());
  }

  /** Of the latest looks. */
  get report(): WayReport {
    this.#report ??= summarizeWays(this.#ways, this.#fresh, this.#faults);
    return this.#report;
  }

  /** Devices behind which containers are, as found last. */
  get insideDevices(): readonly string[] {
    return this.#insideDevices;
  }

  /** A way in `come` that is another one than before is to be looked at. */
  #exchange(gone: ReadonlyMap<Prefix, PlannedWay>, come: readonly PlannedWay[]): void {
    for (const [subnet, way] of gone) if (this.#ways.get(subnet) === way) this.#ways.delete(subnet);
    for (const way of come) {
      this.#ways.set(way.subnet, way);
      if (!isSameWay(gone.get(way.subnet), way)) this.#fresh.add(way.subnet);
    }
    for (const subnet of gone.keys()) {
      if (this.#ways.has(subnet)) continue;
      this.#faults.delete(subnet);
      this.#fresh.delete(subnet);
    }
  }

  /**
   * What is planned and programmed now. Resolves when at least a part of what is new was looked at, so that a host whose
   * ways lead elsewhere is not taken for ready first.
   */
  async setWays(ways: readonly PlannedWay[]): Promise<void> {
    const changes = listChanges(this.#planned, ways);
    const gone = changes.flatMap(({ start, endBefore }) => this.#planned.slice(start, endBefore));
    const come = changes.flatMap(({ startAfter, endAfter }) => ways.slice(startAfter, endAfter));
    this.#exchange(new Map(gone.map((way) => [way.subnet, way])), come);
    this.#planned = ways;
    if (changes.length > 0) this.#report = undefined;
    if (this.#fresh.size === 0) return;
    if (!this.#isLongLook)
      await this.#inTurn(() => this.#lookAtSome([...this.#fresh].slice(0, this.#options.peersAtOnce ?? PEERS_AT_ONCE)));
    if (this.#fresh.size > 0) this.#soon();
  }

  /** Packets of these peers seem to get lost: are the ways to them as they were? Others of the ways are no news. */
  suspect(subnets: readonly Prefix[]): void {
    for (const subnet of subnets) if (this.#ways.has(subnet)) this.#fresh.add(subnet);
    if (this.#fresh.size > 0) this.#soon();
  }

  /** For a person who asks now: what is known to be wrong, and a sample of all. Never rejects, nor waits for long. */
  async refresh(): Promise<void> {
    if (this.#isLongLook) return;
    await this.#inTurn(async () => {
      const known = [...this.#faults.keys()].slice(0, PEERS_AT_ONCE / 2);
      const rest = [...this.#ways.keys()];
      const start = rest.length === 0 ? 0 : (this.#turn * PEERS_AT_ONCE) % rest.length;
      const sample = [...known, ...rest.slice(start), ...rest.slice(0, start)].slice(0, PEERS_AT_ONCE);
      await this.#lookAtSome([...new Set(sample)]);
    });
  }

  /** Notifications of the kernel; those of our own objects cause no look. */
  follow(messages: readonly MonitorMessage[]): void {
    if (this.#loop.isStopped) return;
    // A container that came by a route of its own is no reason for a look at peers, but the next one is to know it.
    this.#areRoutesDue ||= messages.some(({ kind, message }) => kind === "route" && this.#isContainers(message));
    if (this.#isAllDue) return;
    if (messages.some((message) => this.#concerns(message))) this.lookAtAllSoon();
  }

  /** Notifications were lost, or something else may have changed everything. */
  lookAtAllSoon(): void {
    this.#isAllDue = true;
    this.#areRoutesDue = true;
    this.#soon();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#recheckTimer);
    await this.#loop[Symbol.asyncDispose]();
    if (this.#options.rtnetlink === undefined) await this.#netlink[Symbol.asyncDispose]();
  }

  #audit(auditMs: number): void {
    const intervalMs = Math.max(auditMs, this.#ways.size * AUDIT_MS_PER_PEER);
    if (performance.now() - this.#lastAllMs >= intervalMs * 0.9) this.lookAtAllSoon();
  }

  #isContainers({ destination, protocol, table }: RouteMessage): boolean {
    if (protocol === FLANNEL_PROTOCOL || table === routeTable.local) return false;
    return isInside(destination, this.#options.ownSubnets());
  }

  #concerns({ kind, message }: MonitorMessage): boolean {
    const { networks, ownSubnets } = this.#options;
    switch (kind) {
      case "rule":
        return message.protocol !== FLANNEL_PROTOCOL;
      case "route":
        // Addresses bring routes of the local table; containers come and go in our own subnet; ours are the reconciler's.
        if (message.table === routeTable.local || message.protocol === FLANNEL_PROTOCOL) return false;
        if (message.table === routeTable.main && this.#ways.has(message.destination)) return false;
        return !isInside(message.destination, ownSubnets());
      case "address":
        return !isInside(networkOf(message.address), networks) || isInside(networkOf(message.address), ownSubnets());
      case "deviceSettings":
        return true;
      case "link":
      case "neighbour":
      case "fdb":
      case "nextHop":
        return false;
    }
  }

  #soon(): void {
    const restMs = this.#isAllDue && this.#fresh.size === 0 ? this.#nextAllMs - performance.now() : 0;
    this.#loop.passSoon(Math.max(DEBOUNCE_MS, restMs));
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    return this.#loop.inTurn(() => this.#reporting(task));
  }

  /** Never rejects. */
  async #reporting(task: () => Promise<void>): Promise<void> {
    if (this.#loop.isStopped) return;
    try {
      await task();
    } catch (error) {
      const message = `cannot ask the kernel for the ways to peers: ${describeError(error)}`;
      this.#options.logger.verbose(1, "ways.unknown", message);
    }
  }

  async #lookAtDue(): Promise<void> {
    const isAll = this.#isAllDue && performance.now() >= this.#nextAllMs;
    if (!isAll) {
      await this.#lookAtSome([...this.#fresh]);
      if (this.#isAllDue) this.#soon();
      return;
    }
    this.#isAllDue = false;
    const startMs = performance.now();
    this.#turn++;
    await this.#lookAtSome([...new Set([...this.#faults.keys(), ...this.#ways.keys()])]);
    this.#lastAllMs = performance.now();
    this.#nextAllMs = this.#lastAllMs + Math.max(MIN_PAUSE_MS, (this.#lastAllMs - startMs) * PAUSE_FACTOR);
    if (this.#isAllDue) this.#soon();
  }

  async #lookAtSome(subnets: readonly Prefix[]): Promise<void> {
    if (subnets.length === 0) return;
    this.#isLongLook = subnets.length > PEERS_PER_SLICE * SLICES_AT_ONCE;
    try {
      await this.#lookAtEach(subnets);
    } finally {
      this.#isLongLook = false;
    }
  }

  async #lookAtEach(subnets: readonly Prefix[]): Promise<void> {
    const { ownDevices, ownSubnets, networks, tunnelPort } = this.#options;
    const before = reportKey(this.report);
    this.#report = undefined;
    const where = { ownDevices: ownDevices(), ownSubnets: ownSubnets(), networks };
    if (this.#areRoutesDue || !isEqualList(this.#routes.ownSubnets, where.ownSubnets)) {
      // A change that comes meanwhile asks for the next listing.
      this.#areRoutesDue = false;
      this.#routes = await readWayRoutes(this.#netlink, this.#ways, where);
    }
    const { suspects, routed } = this.#routes;
    const context = await readWayContext(this.#netlink, { ...where, routed, tunnelPort: tunnelPort() });
    this.#insideDevices = insideDevicesOf(context);
    for (let first = 0; first < subnets.length && !this.#loop.isStopped; first += PEERS_PER_SLICE) {
      await this.#lookAtSlice(subnets.slice(first, first + PEERS_PER_SLICE), context, suspects);
      if (first + PEERS_PER_SLICE >= subnets.length) break;
      await (first / PEERS_PER_SLICE < SLICES_AT_ONCE ? nextTurn() : sleep(SLICE_PAUSE_MS));
    }
    this.#report = undefined;
    this.#armRecheck();
    if (reportKey(this.report) !== before) this.#options.onChange();
  }

  /** What is wrong may have been a moment between two changes, and its end need not be announced. */
  #armRecheck(): void {
    if (this.#loop.isStopped || this.#faults.size === 0 || this.#recheckTimer !== undefined) return;
    this.#recheckTimer = setTimeout(() => {
      this.#recheckTimer = undefined;
      this.#inTurn(() => this.#lookAtSome([...this.#faults.keys()].slice(0, PEERS_AT_ONCE))).catch(() => undefined);
    }, RECHECK_MS);
    this.#recheckTimer.unref();
  }

  async #lookAtSlice(
    subnets: readonly Prefix[],
    context: WayContext,
    suspects: ReadonlyMap<Prefix, readonly Address[]>,
  ): Promise<void> {
    const asked = subnets.flatMap((subnet) => {
      const way = this.#ways.get(subnet);
      if (way === undefined) return [];
      const addresses = [...new Set([...sampleAddresses(subnet, this.#turn), ...(suspects.get(subnet) ?? [])])];
      return [{ way, addresses, questions: wayQuestions(way, addresses, context) }];
    });
    const answers = await this.#netlink.routeLookups(
      asked.flatMap(({ questions }) => questions.map(({ query }) => query)),
    );
    let next = 0;
    for (const { way, addresses, questions } of asked) {
      const faults: WayFault[] = [];
      for (const question of questions) {
        const answer = answers[next++];
        // The plan changed while we asked: it will be looked at again.
        if (answer === undefined || this.#ways.get(way.subnet) !== way) continue;
        const fault = wayFault(question, answer, way, context);
        if (fault !== undefined) addFault(faults, fault, suspects.get(way.subnet) ?? []);
      }
      this.#fresh.delete(way.subnet);
      if (faults.length === 0) this.#faults.delete(way.subnet);
      else if (this.#ways.get(way.subnet) === way) this.#faults.set(way.subnet, peerFaults(faults, addresses));
    }
  }
}

/** The first trouble of an address explains those that follow, but that reverse path filtering makes of a detour a loss. */
function addFault(faults: WayFault[], fault: WayFault, suspects: readonly Address[]): void {
  const at = faults.findIndex(({ address }) => address === fault.address);
  if (at !== -1 && fault.name !== "rp-filter-strict") return;
  const isRoutes = fault.isRefusal === true && fault.name === "policy-rule" && suspects.includes(fault.address);
  faults.splice(
    at === -1 ? faults.length : at,
    at === -1 ? 0 : 1,
    isRoutes ? { ...fault, name: "route-more-specific" } : fault,
  );
}

function isSameWay(a: PlannedWay | undefined, b: PlannedWay): boolean {
  return a?.device === b.device && a.gateway === b.gateway && a.publicIp === b.publicIp && a.isInPlace === b.isInPlace;
}

/** Of the addresses that stand for all containers of the peer; what is wrong with single ones concerns a part. */
function peerFaults(faults: readonly WayFault[], addresses: readonly Address[]): PeerFaults {
  const isFaulty = (address: Address) => faults.some((fault) => fault.address === address);
  return { faults, isWhole: faults.some(isOutside) || addresses.every(isFaulty) };
}

function reportKey({ unreachable, partly, findings }: WayReport): string {
  return JSON.stringify([unreachable, partly, findings]);
}

function isEqualList(a: readonly Prefix[], b: readonly Prefix[]): boolean {
  return a.length === b.length && a.every((prefix, at) => prefix === b[at]);
}
