// Which of the planned peers the kernel has, and how long it took from a changed lease until it had them: convergence.
import type { BackendPlan } from "../../backend/backend.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import { type Lease, prefixesOf } from "../../lease/lease.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";

interface PlannedPeers {
  readonly plan: BackendPlan;
  readonly dataPlaneProblem: string | undefined;
  /** Planned peers that the backend's runtime does not reach. */
  readonly unreachedPeers: number;
}

interface PeerTimes {
  /** When the store last told of a change. */
  readonly changedAtMs: number;
  /** When the kernel had it; missing until then. */
  readonly programmedAtMs?: number;
}

interface Change {
  /** When the store told of the first change that the kernel does not have, on the monotonic clock. */
  readonly startMs: number;
  /** Of the last one: what was planned before does not have it. */
  readonly lastMs: number;
}

export class PeerProgramming {
  readonly #isProgrammed: (route: HostRoute) => boolean;
  readonly #metrics: MetricsRecorder;
  readonly #pending = new Map<string, Change>();
  /** Of each peer, on the wall clock. */
  readonly #times = new Map<string, PeerTimes>();
  #plan: BackendPlan | undefined;
  /** Those that the plan was made of. */
  #peers: readonly Lease[] = [];
  #plannedMs = 0;

  /** `isProgrammed`: whether a planned route is in place together with all that it requires. */
  constructor(isProgrammed: (route: HostRoute) => boolean, metrics: MetricsRecorder) {
    this.#isProgrammed = isProgrammed;
    this.#metrics = metrics;
  }

  /** Changed peers that are not in the kernel yet. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Of the planned peers, those whose every route, neighbour and FDB entry is in place, and which the runtime reaches. */
  count({ plan, dataPlaneProblem, unreachedPeers }: PlannedPeers): number {
    const { state, plannedPeers, runtime } = plan;
    const missing = (state.route ?? []).filter((route) => !this.#isProgrammed(route)).length;
    if (runtime !== undefined && missing + (dataPlaneProblem === undefined ? 0 : 1) > 0) return 0;
    return Math.max(0, plannedPeers - missing - unreachedPeers);
  }

  /** A lease whose content did not change is the same object in both lists. */
  follow(before: readonly Lease[], after: readonly Lease[], nowMs = performance.now()): void {
    if (before === after) return;
    const gone = new Map(before.map((lease) => [lease.key, lease]));
    for (const lease of after) {
      if (gone.get(lease.key) !== lease) {
        this.#change(lease.key, nowMs);
        this.#times.set(lease.key, { changedAtMs: Date.now() });
      }
      gone.delete(lease.key);
    }
    for (const key of gone.keys()) {
      this.#change(key, nowMs);
      this.#times.delete(key);
    }
  }

  #change(key: string, nowMs: number): void {
    this.#pending.set(key, { startMs: this.#pending.get(key)?.startMs ?? nowMs, lastMs: nowMs });
  }

  /** What is known of one peer. */
  of(key: string): Partial<PeerTimes> & { readonly isPending: boolean } {
    return { ...this.#times.get(key), isPending: this.#pending.has(key) };
  }

  /** What the next pass over the kernel brings about. */
  plan(plan: BackendPlan, peers: readonly Lease[], nowMs = performance.now()): void {
    this.#plan = plan;
    this.#peers = peers;
    this.#plannedMs = nowMs;
  }

  /** After a pass that included the plan. `isClean`: nothing at all is refused, and the backend's runtime does its part. */
  settle(isClean: boolean, nowMs = performance.now()): void {
    if (this.#pending.size === 0 || this.#plan === undefined) return;
    const leases = new Map(this.#peers.map((lease) => [lease.key, lease]));
    const routes = new Map((this.#plan.state.route ?? []).map((route) => [String(route.destination), route]));
    const skipped = new Set(this.#plan.skipped.map(({ key }) => key));
    for (const [key, { startMs, lastMs }] of this.#pending) {
      const lease = leases.get(key);
      if (lastMs > this.#plannedMs) continue;
      if (lease !== undefined && !skipped.has(key) && !this.#isInPlace(lease, routes, isClean)) continue;
      this.#pending.delete(key);
      const times = this.#times.get(key);
      if (times !== undefined) this.#times.set(key, { ...times, programmedAtMs: Date.now() });
      // What this host does not serve, the kernel never gets.
      if (!skipped.has(key)) this.#metrics.observe("flannel_convergence_seconds", {}, (nowMs - startMs) / 1_000);
    }
  }

  /** A backend whose one route takes the whole network, or which has none, is judged as a whole. */
  #isInPlace(lease: Lease, routes: ReadonlyMap<string, HostRoute>, isClean: boolean): boolean {
    const own = prefixesOf(lease).flatMap((subnet) => routes.get(subnet) ?? []);
    return own.length === 0 ? isClean : own.every((route) => this.#isProgrammed(route));
  }
}
