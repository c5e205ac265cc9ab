import { describe, expect, it } from "vitest";
import { revision } from "../../../test/support/revision.ts";
import type { BackendPlan } from "../../backend/backend.ts";
import { emptyHostState } from "../../host/kinds/host-state.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import { parsePrefix } from "../../ip/address.ts";
import type { Lease } from "../../lease/lease.ts";
import { Metrics } from "../../telemetry/metrics/metrics.ts";
import { PeerProgramming } from "./peer-programming.ts";

function lease(number: number): Lease {
  return {
    key: `10.5.${number}.0-24`,
    subnet: parsePrefix(`10.5.${number}.0/24`),
    attributes: {},
    revision: revision(number),
    createdAt: revision(number),
    isReservation: false,
    adapterData: undefined,
  };
}

function planOf(peers: readonly Lease[], skipped: readonly Lease[] = []): BackendPlan {
  const route = peers.map(({ subnet }) => ({ destination: subnet, device: "flannel.1" }) as HostRoute);
  return {
    state: { ...emptyHostState, route },
    plannedPeers: peers.length,
    skipped: skipped.map(({ key }) => ({ key, reason: "" })),
  };
}

function start() {
  const inPlace = new Set<string>();
  const metrics = new Metrics();
  const programming = new PeerProgramming(({ destination }) => inPlace.has(destination), metrics.network("a"));
  const measured = () => metrics.snapshot().find(({ name }) => name === "flannel_convergence_seconds")?.samples[0];
  const programs = (...peers: Lease[]) => {
    inPlace.clear();
    for (const { subnet = "" } of peers) inPlace.add(subnet);
  };
  return { programming, programs, measured };
}

describe("convergence", () => {
  const [one, two] = [lease(1), lease(2)];

  it("begins when the store tells of a change, and ends when the kernel has the peer", () => {
    const { programming, programs, measured } = start();
    programming.follow([], [one, two], 1_000);
    programming.plan(planOf([one, two]), [one, two], 1_100);
    programs(one);
    programming.settle(false, 1_500);
    expect([programming.pending, measured()]).toMatchObject([1, { count: 1, value: 0.5 }]);
    programs(one, two);
    programming.settle(true, 4_000);
    expect([programming.pending, measured()]).toMatchObject([0, { count: 2, value: 3.5 }]);
    programming.settle(true, 9_000);
    expect(measured()).toMatchObject({ count: 2 });
  });

  it("does not end with a pass that was planned before the change", () => {
    const { programming, programs, measured } = start();
    programming.plan(planOf([]), [], 900);
    programming.follow([], [one], 1_000);
    programming.settle(true, 1_100);
    expect([programming.pending, measured()]).toEqual([1, undefined]);
    programming.plan(planOf([one]), [one], 1_200);
    const changed = { ...one };
    programming.follow([one], [changed], 1_300);
    programs(one);
    programming.settle(true, 1_400);
    expect(measured()).toBeUndefined();
    programming.plan(planOf([changed]), [changed], 1_500);
    programming.settle(true, 2_000);
    expect(measured()).toMatchObject({ count: 1, value: 1 });
  });

  it("measures a deleted peer, and not one that this host does not serve or that did not change", () => {
    const { programming, programs, measured } = start();
    programming.follow([one, two], [one], 1_000);
    programming.plan(planOf([one]), [one], 1_100);
    programs(one);
    programming.settle(true, 1_250);
    expect(measured()).toMatchObject({ count: 1, value: 0.25 });
    programming.follow([one], [one, two], 2_000);
    programming.plan(planOf([one], [two]), [one, two], 2_100);
    programming.settle(true, 2_200);
    expect([programming.pending, measured()]).toMatchObject([0, { count: 1 }]);
  });

  it("judges a backend without routes of single peers as a whole", () => {
    const { programming, measured } = start();
    programming.follow([], [one], 1_000);
    programming.plan(planOf([]), [one], 1_100);
    programming.settle(false, 1_200);
    expect(measured()).toBeUndefined();
    programming.settle(true, 1_300);
    expect(measured()).toMatchObject({ count: 1 });
  });
});
