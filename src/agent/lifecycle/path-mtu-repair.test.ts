// What routes are given by what probes found of the paths.
import { describe, expect, it } from "vitest";
import { recordingLogger } from "../../../test/support/host-fixture.ts";
import type { BackendPlan } from "../../backend/backend.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import { type Prefix, parsePrefix } from "../../ip/address.ts";
import type { ProbedPath } from "../../probe/probed-path.ts";
import { silentLogger } from "../../telemetry/logger.ts";
import { PathMtuRepair } from "./path-mtu-repair.ts";

const wide: HostRoute = { destination: parsePrefix("10.5.0.0/16"), device: "flannel0", onLink: false };
const own = (n: number): HostRoute => ({
  ...{ destination: parsePrefix(`10.5.${n}.0/24`), device: "flannel.1", onLink: true },
  gateway: `10.5.${n}.0` as HostRoute["gateway"] & string,
});

function planOf(...route: HostRoute[]): BackendPlan {
  return { state: { route }, plannedPeers: route.length, skipped: [] };
}

function looked(subnet: string, wholeBytes: number | undefined): Pick<ProbedPath, "path" | "mtu"> {
  const found = wholeBytes === undefined ? undefined : { wholeBytes, overlayBytes: wholeBytes, foundAtMs: 0 };
  const path = { subnet: parsePrefix(subnet), overlayMtuBytes: 1_450 };
  return { path, mtu: { found } } as unknown as Pick<ProbedPath, "path" | "mtu">;
}

function repair(before: readonly (readonly [string, number])[] = [], clock = { ms: 0 }): PathMtuRepair {
  return new PathMtuRepair(
    silentLogger,
    new Map(before.map(([subnet, bytes]) => [parsePrefix(subnet), bytes])),
    () => clock.ms,
  );
}

const lines = ({ state }: BackendPlan) =>
  (state.route ?? []).map(({ destination, device, mtuBytes }) => `${destination} ${device} ${mtuBytes ?? "-"}`);

describe("routes", () => {
  it("have what their path carries, as long as it is less than containers send", () => {
    const one = repair();
    expect(one.follow([looked("10.5.1.0/24", 1_450), looked("10.5.2.0/24", 1_250)])).toBe(true);
    expect(lines(one.applyTo(planOf(own(1), own(2))))).toEqual([
      "10.5.1.0/24 flannel.1 -",
      "10.5.2.0/24 flannel.1 1250",
    ]);
    expect(one.follow([looked("10.5.1.0/24", 1_450), looked("10.5.2.0/24", 1_250)])).toBe(false);
    expect(one.follow([looked("10.5.1.0/24", 1_450), looked("10.5.2.0/24", 1_450)])).toBe(true);
    expect(one.isNeeded).toBe(false);
    expect(lines(one.applyTo(planOf(own(2))))).toEqual(["10.5.2.0/24 flannel.1 -"]);
  });

  it("of a whole network stay, and the peer gets one of its own beside", () => {
    const one = repair();
    one.follow([looked("10.5.2.0/24", 1_250)]);
    expect(lines(one.applyTo(planOf(wide)))).toEqual(["10.5.0.0/16 flannel0 -", "10.5.2.0/24 flannel0 1250"]);
  });

  it("are the same objects from plan to plan, and never say more than the backend wants", () => {
    const one = repair();
    one.follow([looked("10.5.2.0/24", 1_250)]);
    const route = own(2);
    expect(one.applyTo(planOf(route)).state.route?.[0]).toBe(one.applyTo(planOf(route)).state.route?.[0]);
    const lower = { ...route, mtuBytes: 1_200 };
    expect(one.applyTo(planOf(lower)).state.route?.[0]).toBe(lower);
  });

  it("of peers that are gone, and of IPv6 below its least MTU, say nothing", () => {
    const one = repair();
    one.follow([looked("10.5.2.0/24", 1_250), looked("fd00:5:0:2::/64", 1_200)]);
    expect(one.bytesOf(parsePrefix("fd00:5:0:2::/64"))).toBeUndefined();
    expect(one.follow([])).toBe(true);
    expect(one.isNeeded).toBe(false);
  });

  it("keep what an earlier run found until the path was looked at again, and no longer than a minute", () => {
    const clock = { ms: 0 };
    const subnet = "10.5.2.0/24";
    const one = repair([[subnet, 1_250]], clock);
    expect(lines(one.applyTo(planOf(own(2))))).toEqual(["10.5.2.0/24 flannel.1 1250"]);
    expect(one.follow([looked(subnet, undefined)])).toBe(false);
    expect(one.bytesOf(subnet as Prefix)).toBe(1_250);
    clock.ms = 60_001;
    expect(one.follow([looked(subnet, undefined)])).toBe(true);
    expect(one.isNeeded).toBe(false);
  });

  it("keep it as well while the peers are not known yet, and for a minute from when they are", () => {
    const clock = { ms: 0 };
    const [subnet, gone] = ["10.5.2.0/24", "10.5.9.0/24"];
    const one = repair(
      [
        [subnet, 1_250],
        [gone, 1_300],
      ],
      clock,
    );
    clock.ms = 90_000;
    expect(one.follow([])).toBe(false);
    expect(one.follow([looked(subnet, undefined)])).toBe(false);
    clock.ms = 149_999;
    one.follow([looked(subnet, undefined)]);
    expect(one.bytesOf(subnet as Prefix)).toBe(1_250);
    clock.ms = 150_000;
    expect(one.follow([looked(subnet, 1_240)])).toBe(true);
    expect(one.bytesOf(subnet as Prefix)).toBe(1_240);
    expect(one.bytesOf(gone as Prefix)).toBeUndefined();
  });

  it("keep what was found while a path is looked at again", () => {
    const one = repair();
    one.follow([looked("10.5.2.0/24", 1_250)]);
    expect(one.follow([looked("10.5.2.0/24", undefined)])).toBe(false);
  });
});

describe("routes of IPv6 in a dual-stack network", () => {
  it("say what is usual there, which is no repair of an earlier run", () => {
    const { logger, lines: logged } = recordingLogger();
    const before = new Map([
      [parsePrefix("fd00:5:1::/64"), 1_430],
      [parsePrefix("fd00:5:2::/64"), 1_300],
    ]);
    const one = new PathMtuRepair(logger, before, () => 0);
    one.forgetUsual(() => 1_430);
    expect(one.findings.map(({ evidence }) => evidence)).toEqual([
      expect.stringContaining("fd00:5:2::/64 carries less"),
    ]);
    const path = { subnet: parsePrefix("fd00:5:1::/64"), overlayMtuBytes: 1_430 };
    one.follow([{ path, mtu: { found: undefined } } as unknown as Pick<ProbedPath, "path" | "mtu">]);
    expect(one.bytesOf(parsePrefix("fd00:5:2::/64"))).toBe(1_300);
    expect(logged).toEqual([]);
  });
});
