// `--path-mtu=repair`: the routes to peers whose path carries less than containers send say so, as long as that is found. Part of the
// desired state like everything else; the reconciler writes it. What routes said before a restart stays until their path was
// looked at again: large packets would be lost meanwhile.
import type { BackendPlan } from "../../backend/backend.ts";
import type { Finding } from "../../doctor/finding.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import { type Family, familyOf, type Prefix, prefixLength } from "../../ip/address.ts";
import { containsPrefix } from "../../ip/prefix.ts";
import type { ProbedPath } from "../../probe/probed-path.ts";
import type { Logger } from "../../telemetry/logger.ts";

/** What a path carried says nothing any more when it was not found again for so long. */
const FORGET_AFTER_MS = 60_000;
/** RFC 8200: no IPv6 route may say less. */
const LEAST_IPV6_BYTES = 1_280;

/** What probes found of one path, as far as it matters here. */
type LookedAt = Pick<ProbedPath, "path" | "mtu">;

/** How large packets may be. `untilMs`: unless it is found again before; missing: it is found now. */
interface Carried {
  readonly bytes: number;
  readonly untilMs?: number;
}

export class PathMtuRepair {
  readonly #logger: Logger;
  readonly #monotonicMs: () => number;
  #carried: ReadonlyMap<Prefix, Carried>;
  /** Of an earlier run, for peers that were not heard of yet; forgotten a minute after the first peers were. */
  readonly #before: Map<Prefix, number>;
  #forgetBeforeAtMs: number | undefined;
  /** What was made of a route is the same object until the route or the size is another. */
  readonly #made = new WeakMap<HostRoute, Map<string, HostRoute>>();

  /** `before`: what routes of an earlier run say, by destination. */
  constructor(logger: Logger, before: ReadonlyMap<Prefix, number>, monotonicMs = () => performance.now()) {
    this.#logger = logger;
    this.#before = new Map(before);
    this.#carried = new Map([...before].map(([subnet, bytes]) => [subnet, { bytes }]));
    this.#monotonicMs = monotonicMs;
  }

  /** Leaves out what routes of an earlier run said without a repair: those of IPv6 in a dual-stack network say what is usual. */
  forgetUsual(usualMtuBytes: (family: Family) => number): void {
    for (const [subnet, bytes] of this.#before)
      if (bytes >= usualMtuBytes(familyOf(subnet))) this.#before.delete(subnet);
    this.#carried = new Map([...this.#carried].filter(([subnet]) => this.#before.has(subnet)));
  }

  /** How large packets for a peer's subnet may be; undefined where nothing is repaired. */
  bytesOf(subnet: Prefix): number | undefined {
    return this.#carried.get(subnet)?.bytes;
  }

  get isNeeded(): boolean {
    return this.#carried.size > 0;
  }

  /** What is repaired is no trouble of packets, but one of the network between the hosts all the same. */
  get findings(): readonly Finding[] {
    const [first] = this.#carried;
    if (first === undefined) return [];
    const [subnet, { bytes }] = first;
    const more = this.#carried.size > 1 ? ` and to ${this.#carried.size - 1} more` : "";
    return [
      {
        name: "mtu-path-smaller",
        severity: "warning",
        evidence: `the path to ${subnet}${more} carries less than containers send (${bytes} bytes); repaired by its route and the MSS of TCP (--path-mtu=repair)`,
        remedy: "mend the network between the hosts, or flannelctl config set # with a smaller MTU of the backend",
      },
    ];
  }

  /** True when the plan is another now. */
  follow(paths: Iterable<LookedAt>): boolean {
    const nowMs = this.#monotonicMs();
    const next = new Map<Prefix, Carried>();
    for (const { path, mtu } of paths) {
      this.#forgetBeforeAtMs ??= nowMs + FORGET_AFTER_MS;
      this.#before.delete(path.subnet);
      const carried = this.#judge(path, mtu.found?.wholeBytes, nowMs);
      if (carried !== undefined) next.set(path.subnet, carried);
    }
    // The first plan after a start has no peers yet: they come with the store's answer.
    if (nowMs >= (this.#forgetBeforeAtMs ?? Number.POSITIVE_INFINITY)) this.#before.clear();
    for (const [subnet, bytes] of this.#before) next.set(subnet, { bytes });
    const known = this.#carried;
    this.#carried = next;
    return next.size !== known.size || [...next].some(([subnet, { bytes }]) => known.get(subnet)?.bytes !== bytes);
  }

  /** Undefined where nothing is to be repaired. `found`: what was found of the path as it is now. */
  #judge(path: LookedAt["path"], found: number | undefined, nowMs: number): Carried | undefined {
    const { subnet, overlayMtuBytes } = path;
    const known = this.#carried.get(subnet);
    if (found === undefined) {
      if (known === undefined || known.bytes >= overlayMtuBytes) return undefined;
      const untilMs = known.untilMs ?? nowMs + FORGET_AFTER_MS;
      if (nowMs < untilMs) return { bytes: known.bytes, untilMs };
      this.#logRestored(path, known.bytes, "nothing was found of the path for a minute");
      return undefined;
    }
    if (found >= overlayMtuBytes) {
      if (known !== undefined) this.#logRestored(path, known.bytes, "the path carries them");
      return undefined;
    }
    if (familyOf(subnet) === 6 && found < LEAST_IPV6_BYTES) return undefined;
    if (found !== known?.bytes) this.#logLowered(path, found, known?.bytes);
    return { bytes: found };
  }

  #logLowered({ subnet, underlay, overlayMtuBytes }: LookedAt["path"], bytes: number, known: number | undefined): void {
    const of = underlay === undefined ? "" : ` of ${underlay}`;
    this.#logger.warn(
      "path-mtu.lowered",
      `packets for ${subnet}${of} may have ${bytes} bytes, not ${known ?? overlayMtuBytes}: the path carries no more; its route and the MSS of TCP say so`,
      { subnet, mtuBytes: bytes },
    );
  }

  #logRestored({ subnet, underlay, overlayMtuBytes }: LookedAt["path"], known: number, why: string): void {
    const of = underlay === undefined ? "" : ` of ${underlay}`;
    this.#logger.info(
      "path-mtu.restored",
      `packets for ${subnet}${of} may have ${overlayMtuBytes} bytes again, not ${known}: ${why}`,
      { subnet, mtuBytes: overlayMtuBytes },
    );
  }

  /** The plan with what routes have to say. A peer that shares its route with others gets one of its own. */
  applyTo(plan: BackendPlan): BackendPlan {
    const { route: routes } = plan.state;
    if (this.#carried.size === 0 || routes === undefined) return plan;
    const left = new Map([...this.#carried].map(([subnet, { bytes }]) => [subnet, bytes]));
    const changed = routes.map((route) => {
      const bytes = left.get(route.destination);
      left.delete(route.destination);
      return bytes === undefined ? route : this.#routeWith(route, route.destination, bytes);
    });
    for (const [subnet, bytes] of left) {
      const wide = closest(routes, subnet);
      if (wide !== undefined) changed.push(this.#routeWith(wide, subnet, bytes));
    }
    return { ...plan, state: { ...plan.state, route: changed } };
  }

  #routeWith(route: HostRoute, destination: Prefix, bytes: number): HostRoute {
    if (route.mtuBytes !== undefined && route.mtuBytes <= bytes && destination === route.destination) return route;
    const mtuBytes = Math.min(bytes, route.mtuBytes ?? bytes);
    const known = this.#made.get(route) ?? new Map<string, HostRoute>();
    this.#made.set(route, known);
    const key = `${destination} ${mtuBytes}`;
    const made = known.get(key) ?? { ...route, destination, mtuBytes };
    known.set(key, made);
    return made;
  }
}

/** The route that the kernel would take for all of the subnet. */
function closest(routes: readonly HostRoute[], subnet: Prefix): HostRoute | undefined {
  let found: HostRoute | undefined;
  for (const route of routes) {
    if (!containsPrefix(route.destination, subnet)) continue;
    if (found === undefined || prefixLength(route.destination) > prefixLength(found.destination)) found = route;
  }
  return found;
}
