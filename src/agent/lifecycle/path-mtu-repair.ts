// `--path-mtu=repair`: the routes to peers whose path carries less than containers send say so, as long as that is found. Part of the
// desired state like everything else; the reconciler writes it. What routes said before a restart stays until their path was
// looked at again: large packets would be lost meanwhile.
import type { BackendPlan } from "../../backend/backend.ts";
import type { Finding } from "../../doctor/finding.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import { familyOf, type Prefix, prefixLength } from "../../ip/address.ts";
import { containsPrefix } from "../../ip/prefix.ts";
import { FLANNEL_PROTOCOL } from "../../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { ProbedPath } from "../../probe/probed-path.ts";
import type { Logger } from "../../telemetry/logger.ts";

/** Of a path whose MTU was not found for so long after the start, what was before says nothing any more. */
const FORGET_AFTER_MS = 60_000;
/** RFC 8200: no IPv6 route may say less. */
const LEAST_IPV6_BYTES = 1_280;

/** What probes found of one path, as far as it matters here. */
type LookedAt = Pick<ProbedPath, "path" | "mtu">;

export class PathMtuRepair {
  readonly #logger: Logger;
  readonly #forgetAtMs: number;
  readonly #monotonicMs: () => number;
  #bytes: ReadonlyMap<Prefix, number>;
  /** What was made of a route is the same object until the route or the size is another. */
  readonly #made = new WeakMap<HostRoute, Map<string, HostRoute>>();

  /** `before`: what routes of an earlier run say, by destination. */
  constructor(logger: Logger, before: ReadonlyMap<Prefix, number>, monotonicMs = () => performance.now()) {
    this.#logger = logger;
    this.#bytes = before;
    this.#monotonicMs = monotonicMs;
    this.#forgetAtMs = monotonicMs() + FORGET_AFTER_MS;
  }

  /** `ownDevices`: all routes there are ours; elsewhere those that bear our number. */
  static async open(rtnetlink: Rtnetlink, ownDevices: readonly string[], logger: Logger): Promise<PathMtuRepair> {
    const links = await rtnetlink.dump("link");
    const indexes = new Set(links.filter(({ name }) => ownDevices.includes(name)).map(({ index }) => index));
    const before = new Map<Prefix, number>();
    await rtnetlink.dumpAs("route", {}, ({ destination, mtuBytes, outIndex, protocol }): undefined => {
      const isOurs = protocol === FLANNEL_PROTOCOL || indexes.has(outIndex ?? -1);
      if (mtuBytes !== undefined && isOurs) before.set(destination, mtuBytes);
    });
    return new PathMtuRepair(logger, before);
  }

  /** How large packets for a peer's subnet may be; undefined where nothing is repaired. */
  bytesOf(subnet: Prefix): number | undefined {
    return this.#bytes.get(subnet);
  }

  get isNeeded(): boolean {
    return this.#bytes.size > 0;
  }

  /** What is repaired is no trouble of packets, but one of the network between the hosts all the same. */
  get findings(): readonly Finding[] {
    const [first] = this.#bytes;
    if (first === undefined) return [];
    const [subnet, bytes] = first;
    const more = this.#bytes.size > 1 ? ` and to ${this.#bytes.size - 1} more` : "";
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
    const next = new Map<Prefix, number>();
    const isFresh = this.#monotonicMs() < this.#forgetAtMs;
    for (const { path, mtu } of paths) {
      const { subnet, overlayMtuBytes } = path;
      const known = this.#bytes.get(subnet);
      const found = mtu.found?.wholeBytes;
      // Nothing was found yet: after a start the last run knew.
      const bytes = found ?? (isFresh ? known : undefined);
      if (bytes === undefined || bytes >= overlayMtuBytes) {
        if (known !== undefined && found !== undefined) this.#tellRestored(path, known);
      } else if (familyOf(subnet) === 4 || bytes >= LEAST_IPV6_BYTES) {
        if (bytes !== known) this.#tellLowered(path, bytes, known);
        next.set(subnet, bytes);
      }
    }
    const isSame =
      next.size === this.#bytes.size && [...next].every(([subnet, bytes]) => this.#bytes.get(subnet) === bytes);
    this.#bytes = next;
    return !isSame;
  }

  #tellLowered(
    { subnet, underlay, overlayMtuBytes }: LookedAt["path"],
    bytes: number,
    known: number | undefined,
  ): void {
    const of = underlay === undefined ? "" : ` of ${underlay}`;
    this.#logger.warn(
      "path-mtu.lowered",
      `packets for ${subnet}${of} may have ${bytes} bytes, not ${known ?? overlayMtuBytes}: the path carries no more; its route and the MSS of TCP say so`,
      { subnet, mtuBytes: bytes },
    );
  }

  #tellRestored({ subnet, underlay, overlayMtuBytes }: LookedAt["path"], known: number): void {
    const of = underlay === undefined ? "" : ` of ${underlay}`;
    this.#logger.info(
      "path-mtu.restored",
      `packets for ${subnet}${of} may have ${overlayMtuBytes} bytes again, not ${known}: the path carries them`,
      { subnet, mtuBytes: overlayMtuBytes },
    );
  }

  /** The plan with what routes have to say. A peer that shares its route with others gets one of its own. */
  applyTo(plan: BackendPlan): BackendPlan {
    const { route: routes } = plan.state;
    if (this.#bytes.size === 0 || routes === undefined) return plan;
    const left = new Map(this.#bytes);
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
