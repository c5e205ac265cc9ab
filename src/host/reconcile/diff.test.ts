import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { familyOf, makePrefix, parseAddress, parsePrefix } from "../../ip/address.ts";
import { FLANNEL_PROTOCOL } from "../../netlink/rtnetlink/messages.ts";
import { routeProtocol } from "../../netlink/uapi.ts";
import { addressKind, type HostAddress } from "../kinds/address.ts";
import { fdbKind, type HostFdbEntry } from "../kinds/fdb.ts";
import { emptyHostState, type HostState } from "../kinds/host-state.ts";
import type { Slot } from "../kinds/kind.ts";
import { linkKind } from "../kinds/link.ts";
import { type HostLink, linkChanges, type ObservedLink } from "../kinds/link-form.ts";
import { type HostNeighbour, neighbourKind } from "../kinds/neighbour.ts";
import { routeKind } from "../kinds/route.ts";
import type { HostRoute, ObservedRoute } from "../kinds/route-form.ts";
import { type HostSysctl, sysctlKind } from "../kinds/sysctl.ts";
import { type DiffOptions, diff as diffTable, type HostOperation, operationLines } from "./diff.ts";
import { HostTable } from "./host-table.ts";

const ownDevices = new Set(["flannel.1", "flannel-v6.1"]);
const prune = { prune: true, ownDevices };

interface ObservedState {
  readonly link: readonly ObservedLink[];
  readonly sysctl: readonly HostSysctl[];
  readonly address: readonly HostAddress[];
  readonly neighbour: readonly HostNeighbour[];
  readonly fdb: readonly HostFdbEntry[];
  readonly route: readonly ObservedRoute[];
}
const emptyObservedState: ObservedState = { link: [], sysctl: [], address: [], neighbour: [], fdb: [], route: [] };

function diff(observed: ObservedState, desired: HostState, options: DiffOptions): HostOperation[] {
  const table = new HostTable();
  const ignore = () => undefined;
  table.setDesired(desired);
  table.setObserved(linkKind, observed.link, ignore);
  table.setObserved(sysctlKind, observed.sysctl, ignore);
  table.setObserved(addressKind, observed.address, ignore);
  table.setObserved(neighbourKind, observed.neighbour, ignore);
  table.setObserved(fdbKind, observed.fdb, ignore);
  table.setObserved(routeKind, observed.route, ignore);
  return diffTable(table, options);
}

const vxlan: HostLink = {
  kind: "vxlan",
  name: "flannel.1",
  mac: "0a:00:00:00:00:01",
  mtuBytes: 1450,
  vni: 1,
  port: 0,
  local: parseAddress("192.168.50.11"),
  underlay: "eth0",
  learning: false,
  gbp: false,
};
const upstreams: ObservedLink = {
  name: "flannel.1",
  index: 7,
  kind: "vxlan",
  mac: "0a:00:00:00:00:01",
  mtuBytes: 1450,
  isUp: true,
  vxlan: {
    vni: 1,
    port: 8472,
    gbp: false,
    learning: false,
    local: parseAddress("192.168.50.11"),
    underlay: "eth0",
    l2miss: false,
    l3miss: false,
  },
};

function overlayRoute(i: number): HostRoute {
  return {
    destination: parsePrefix(`10.5.${i}.0/24`),
    device: "flannel.1",
    gateway: parseAddress(`10.5.${i}.0`),
    onLink: true,
  };
}

function gatewayRoute(i: number): HostRoute {
  return {
    destination: parsePrefix(`10.5.${i}.0/24`),
    device: "eth0",
    gateway: parseAddress(`192.168.50.${i}`),
    onLink: false,
  };
}

function found({ encapsulation: _, ...route }: HostRoute, extra: Partial<ObservedRoute> = {}): ObservedRoute {
  const protocol = ownDevices.has(route.device) ? routeProtocol.boot : FLANNEL_PROTOCOL;
  const metric = familyOf(route.destination) === 4 ? 0 : 1024;
  return { ...route, protocol, metric, tos: 0, type: 1, scope: 0, isMultipath: false, isOurs: true, ...extra };
}

const peerState = {
  link: [vxlan],
  sysctl: [{ key: "net/ipv6/conf/flannel.1/accept_ra", value: "0" }],
  address: [{ device: "flannel.1", address: parsePrefix("10.5.1.0/32") }],
  neighbour: [{ device: "flannel.1", address: parseAddress("10.5.2.0"), mac: "0a:00:00:00:00:02" }],
  fdb: [{ device: "flannel.1", mac: "0a:00:00:00:00:02", destination: parseAddress("192.168.50.12") }],
  route: [overlayRoute(2)],
} satisfies HostState;
const peerObserved: ObservedState = {
  link: [upstreams],
  sysctl: peerState.sysctl,
  address: peerState.address,
  neighbour: peerState.neighbour,
  fdb: peerState.fdb,
  route: [found(overlayRoute(2))],
};

function actions(operations: readonly HostOperation[]): string[] {
  return operations.map((operation) => `${operation.action} ${operation.slot.kind.name} ${operation.slot.key}`);
}

describe("order", () => {
  test("an empty host is built from the link up", () => {
    expect(actions(diff(emptyObservedState, peerState, prune))).toEqual([
      "add link flannel.1",
      "add sysctl net/ipv6/conf/flannel.1/accept_ra",
      "add address flannel.1 10.5.1.0/32",
      "add neighbour flannel.1 10.5.2.0",
      "add fdb flannel.1 0a:00:00:00:00:02",
      "add route 10.5.2.0/24",
    ]);
  });

  test("a peer that left is taken down from the route, after what is new", () => {
    const after = { ...peerState, neighbour: [], fdb: [], route: [overlayRoute(3)] };
    expect(actions(diff(peerObserved, after, prune))).toEqual([
      "add route 10.5.3.0/24",
      "remove route 10.5.2.0/24",
      "remove fdb flannel.1 0a:00:00:00:00:02",
      "remove neighbour flannel.1 10.5.2.0",
    ]);
  });

  test("what is right is left alone, and nothing is removed before the first snapshot", () => {
    expect(diff(peerObserved, peerState, prune)).toEqual([]);
    expect(diff(peerObserved, emptyHostState, { prune: false, ownDevices })).toEqual([]);
  });
});

describe("the device", () => {
  const withLink = (link: Partial<ObservedLink>): ObservedState => ({
    ...peerObserved,
    link: [{ ...upstreams, ...link }],
  });
  const withVxlan = (vxlanPart: Partial<NonNullable<ObservedLink["vxlan"]>>): ObservedState =>
    withLink({ vxlan: { ...(upstreams.vxlan as NonNullable<ObservedLink["vxlan"]>), ...vxlanPart } });

  test.each([
    ["MTU", withLink({ mtuBytes: 1400 })],
    ["down", withLink({ isUp: false })],
    ["outer address", withVxlan({ local: parseAddress("192.168.50.99") })],
    ["underlay", withVxlan({ underlay: "eth1" })],
    ["learning", withVxlan({ learning: true })],
  ])("%s is changed in place", (_, observed) => {
    expect(actions(diff(observed, peerState, prune))).toEqual(["replace link flannel.1"]);
  });

  test("a new MAC costs the neighbours, since the kernel flushes them", () => {
    expect(actions(diff(withLink({ mac: "0a:00:00:00:00:99" }), peerState, prune))).toEqual([
      "replace link flannel.1",
      "add neighbour flannel.1 10.5.2.0",
    ]);
  });

  test.each([
    ["VNI", withVxlan({ vni: 2 })],
    ["GBP", withVxlan({ gbp: true })],
    ["family of the outer address", withVxlan({ local: parseAddress("fd00::1") })],
  ])("%s recreates it, with everything on it", (_, observed) => {
    expect(actions(diff(observed, peerState, prune))).toEqual([
      "recreate link flannel.1",
      "add address flannel.1 10.5.1.0/32",
      "add neighbour flannel.1 10.5.2.0",
      "add fdb flannel.1 0a:00:00:00:00:02",
      "add route 10.5.2.0/24",
    ]);
  });

  test("port 0 accepts any port, another number does not", () => {
    const otherPort = withVxlan({ port: 4789 });
    expect(diff(otherPort, peerState, prune)).toEqual([]);
    const wantsPort = { ...peerState, link: [{ ...vxlan, port: 8472 }] };
    expect(actions(diff(otherPort, wantsPort, prune))[0]).toBe("recreate link flannel.1");
  });

  test("a device of another kind under our name is neither used nor deleted", () => {
    const observed: ObservedState = {
      ...emptyObservedState,
      link: [{ name: "flannel.1", index: 9, kind: "bridge", mtuBytes: 1500, isUp: true }],
    };
    const [refusal] = diff(observed, { link: [vxlan] }, prune);
    expect(refusal?.action).toBe("refuse");
    expect(operationLines([refusal as HostOperation], ownDevices)[0]).toMatch(/^! flannel\.1 exists as a bridge/);
    expect(diff(observed, emptyHostState, prune)).toEqual([]);
  });
});

describe("routes", () => {
  const want = (...route: HostRoute[]): HostState => ({ route });
  const have = (...route: ObservedRoute[]): ObservedState => ({ ...emptyObservedState, route });

  test("upstream's untagged route to a peer is adopted by writing it again in place", () => {
    const untagged = found(gatewayRoute(2), { protocol: routeProtocol.boot, isOurs: false });
    expect(actions(diff(have(untagged), want(gatewayRoute(2)), prune))).toEqual(["replace route 10.5.2.0/24"]);
  });

  test("a route that leads elsewhere is replaced in place", () => {
    const astray = found({ ...gatewayRoute(2), gateway: parseAddress("192.168.50.99") }, { isOurs: false });
    expect(actions(diff(have(astray), want(gatewayRoute(2)), prune))).toEqual(["replace route 10.5.2.0/24"]);
  });

  test("both forms of a route are the same", () => {
    const through = found(overlayRoute(2), { nextHopId: 5 });
    expect(diff(have(through), want(overlayRoute(2)), prune)).toEqual([]);
  });

  test("the kernel's route of an interface is not replaced, unless the interface is ours", () => {
    const connected = { protocol: routeProtocol.kernel, scope: 253, isOurs: false };
    const { gateway: _, ...bridge } = found({ ...overlayRoute(2), device: "docker0", onLink: false }, connected);
    expect(diff(have(bridge), want(overlayRoute(2)), prune)).toMatchObject([
      { action: "refuse", reason: expect.stringContaining("the kernel's route 10.5.2.0/24 dev docker0 stays") },
    ]);
    expect(actions(diff(have({ ...bridge, device: "flannel.1" }), want(overlayRoute(2)), prune))).toEqual([
      "replace route 10.5.2.0/24",
    ]);
  });

  test("before the first snapshot only what leads to a forbidden prefix goes", () => {
    const early = { ...prune, prune: false, forbidden: [parsePrefix("10.5.2.9/32"), parsePrefix("fd00::/64")] };
    const routes = have(found(overlayRoute(2)), found(overlayRoute(3)), found(gatewayRoute(4), { isOurs: false }));
    expect(actions(diff(routes, want(), early))).toEqual(["remove route 10.5.2.0/24"]);
    expect(diff(routes, want(overlayRoute(2)), early)).toEqual([]);
    expect(diff(have(found(gatewayRoute(2), { isOurs: false })), want(), early)).toEqual([]);
  });

  test("a route with a metric of its own is another route", () => {
    const foreign = found(gatewayRoute(2), { metric: 50, isOurs: false });
    expect(actions(diff(have(foreign), want(gatewayRoute(2)), prune))).toEqual(["add route 10.5.2.0/24"]);
    const ours = found(overlayRoute(2), { metric: 50 });
    expect(actions(diff(have(found(overlayRoute(2)), ours), want(overlayRoute(2)), prune))).toEqual([
      "remove route 10.5.2.0/24 metric 50 tos 0",
    ]);
  });
});

test("other addresses go only where one of their family is wanted", () => {
  const observed: ObservedState = {
    ...peerObserved,
    address: [
      ...peerObserved.address,
      { device: "flannel.1", address: parsePrefix("10.9.0.0/32") },
      { device: "flannel.1", address: parsePrefix("fd00::5/64") },
    ],
  };
  expect(actions(diff(observed, peerState, prune))).toEqual(["remove address flannel.1 10.9.0.0/32"]);
});

test("the lines of a difference", () => {
  const observed = { ...peerObserved, route: [found(overlayRoute(2), { protocol: 4 })], fdb: [] };
  expect(operationLines(diff(observed, peerState, prune), ownDevices)).toEqual([
    "+ 0a:00:00:00:00:02 dev flannel.1 dst 192.168.50.12 self permanent",
    "- 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 4 onlink",
    "+ 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
  ]);
});

describe("against a model of the kernel", () => {
  const peers = fc.uniqueArray(fc.integer({ min: 2, max: 9 }), { maxLength: 8 });
  const desiredStates = fc
    .record({ overlay: peers, direct: peers, hasLink: fc.boolean() })
    .map(({ overlay, direct, hasLink }) => {
      const onOverlay = hasLink ? overlay.filter((i) => !direct.includes(i)) : [];
      return {
        link: hasLink ? [vxlan] : [],
        sysctl: hasLink ? peerState.sysctl : [],
        address: hasLink ? peerState.address : [],
        neighbour: onOverlay.map((i) => ({
          device: "flannel.1",
          address: parseAddress(`10.5.${i}.0`),
          mac: macOf(i),
        })),
        fdb: onOverlay.map((i) => ({
          device: "flannel.1",
          mac: macOf(i),
          destination: parseAddress(`192.168.50.${i}`),
        })),
        route: [...onOverlay.map(overlayRoute), ...direct.map(gatewayRoute)],
      } satisfies HostState;
    });
  const strayRoutes = fc.array(
    fc.record({
      i: fc.integer({ min: 2, max: 12 }),
      metric: fc.constantFrom(0, 100),
      gateway: fc.integer({ min: 2, max: 4 }),
      protocol: fc.constantFrom(2, 3, FLANNEL_PROTOCOL),
      isOverlay: fc.boolean(),
      nextHopId: fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined }),
    }),
    { maxLength: 8 },
  );
  const observedStates = fc
    .record({
      link: fc.option(
        fc.record({ mac: fc.constantFrom(macOf(1), macOf(99)), vni: fc.constantFrom(1, 2), isUp: fc.boolean() }),
        { nil: undefined },
      ),
      neighbours: peers,
      staleMacs: fc.boolean(),
      routes: strayRoutes,
    })
    .map(({ link, neighbours, staleMacs, routes }): ObservedState => {
      const macBase = staleMacs ? 50 : 0;
      const attributes = upstreams.vxlan as NonNullable<ObservedLink["vxlan"]>;
      return {
        link:
          link === undefined
            ? []
            : [{ ...upstreams, mac: link.mac, isUp: link.isUp, vxlan: { ...attributes, vni: link.vni } }],
        sysctl: [],
        address: link === undefined ? [] : [{ device: "flannel.1", address: makePrefix(parseAddress("10.7.0.0"), 32) }],
        neighbour:
          link === undefined
            ? []
            : neighbours.map((i) => ({
                device: "flannel.1",
                address: parseAddress(`10.5.${i}.0`),
                mac: macOf(i + macBase),
              })),
        fdb:
          link === undefined
            ? []
            : neighbours.map((i) => ({
                device: "flannel.1",
                mac: macOf(i),
                destination: parseAddress("192.168.50.3"),
              })),
        route: routes.flatMap(({ i, metric, gateway, protocol, isOverlay, nextHopId }) => {
          if (isOverlay && link === undefined) return [];
          const base = isOverlay
            ? overlayRoute(i)
            : { ...gatewayRoute(i), gateway: parseAddress(`192.168.50.${gateway}`) };
          const isOurs = isOverlay ? protocol !== 2 : protocol === FLANNEL_PROTOCOL;
          return [found(base, { metric, protocol, isOurs, ...(nextHopId === undefined ? {} : { nextHopId }) })];
        }),
      };
    })
    .map((observed) => ({ ...observed, route: uniqueByKernelKey(observed.route) }));

  test("what comes out is what was wanted, foreign objects stay, and a second look finds nothing to do", () => {
    fc.assert(
      fc.property(observedStates, desiredStates, (observed, desired) => {
        const kernel = applyAll(diff(observed, desired, prune), observed);
        expect(actions(diff(kernel, desired, prune))).toEqual([]);
        for (const wanted of desired.route) {
          expect(kernel.route).toContainEqual(expect.objectContaining({ ...wanted, metric: 0 }));
        }
        const wantedDestinations = new Set(desired.route.map((route) => route.destination));
        for (const route of observed.route) {
          const isInTheWay = route.metric === 0 && wantedDestinations.has(route.destination);
          if (!route.isOurs && !isInTheWay && route.device === "eth0") expect(kernel.route).toContain(route);
        }
        expect(kernel.neighbour).toHaveLength(desired.neighbour.length);
        expect(kernel.fdb).toHaveLength(desired.fdb.length);
      }),
      propertyRuns(2_000),
    );
  });
});

function macOf(i: number): string {
  return `0a:00:00:00:00:${i.toString().padStart(2, "0")}`;
}

function kernelKey(route: { destination: string; metric: number }): string {
  return `${route.destination} ${route.metric}`;
}

function uniqueByKernelKey(routes: readonly ObservedRoute[]): ObservedRoute[] {
  return [...new Map(routes.map((route) => [kernelKey(route), route])).values()];
}

/** A slow kernel: lists instead of tables, refusing what the real one would refuse. */
function applyAll(operations: readonly HostOperation[], start: ObservedState): ObservedState {
  let state = start;
  for (const operation of operations) state = apply(operation, state);
  return state;
}

function apply({ action, slot }: HostOperation, state: ObservedState): ObservedState {
  switch (slot.kind) {
    case linkKind: {
      const { desired, observed } = slot as Slot<HostLink, ObservedLink>;
      return applyLink(action, desired, observed, state);
    }
    case routeKind: {
      const { desired, observed } = slot as Slot<HostRoute, ObservedRoute>;
      return applyRoute(action, desired, observed, state);
    }
    case sysctlKind:
      return slot.desired === undefined ? state : { ...state, sysctl: [...state.sysctl, slot.desired as HostSysctl] };
    default:
      return applyOnDevice(action, slot.kind.name as "address" | "neighbour" | "fdb", slot, state);
  }
}

function applyLink(
  action: string,
  desired: HostLink | undefined,
  observed: ObservedLink | undefined,
  state: ObservedState,
): ObservedState {
  const isGone = action === "recreate" || action === "remove";
  const survives = <T extends { readonly device?: string }>(objects: readonly T[]): readonly T[] =>
    isGone ? objects.filter((object) => object.device !== (desired ?? observed)?.name) : objects;
  const changesMac = desired !== undefined && observed !== undefined && linkChanges(desired, observed).includes("mac");
  return {
    ...state,
    link: desired === undefined ? [] : [upstreams],
    address: survives(state.address),
    neighbour: changesMac ? [] : survives(state.neighbour),
    fdb: survives(state.fdb),
    route: survives(state.route),
  };
}

function applyRoute(
  action: string,
  desired: HostRoute | undefined,
  observed: ObservedRoute | undefined,
  state: ObservedState,
): ObservedState {
  if (action === "remove") return { ...state, route: state.route.filter((route) => route !== observed) };
  const route = found(desired as HostRoute);
  if (ownDevices.has(route.device ?? "") && state.link.length === 0) throw new Error("ENODEV");
  return { ...state, route: [...state.route.filter((other) => kernelKey(other) !== kernelKey(route)), route] };
}

function applyOnDevice(
  action: string,
  kind: "address" | "neighbour" | "fdb",
  { desired, observed }: Slot,
  state: ObservedState,
): ObservedState {
  const others = (state[kind] as readonly unknown[]).filter((object) => object !== observed);
  if (action !== "remove" && state.link.length === 0) throw new Error("ENODEV");
  return { ...state, [kind]: action === "remove" ? others : [...others, desired] };
}
