// One look at a route table, for random tables: never touches what lies outside of the network, and ends.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { parsePrefix } from "../ip/address.ts";
import type { CloudRoute } from "./cloud-routes.ts";
import { planRoutes, type RouteWish } from "./plan-routes.ts";

const prefix = (text: string) => parsePrefix(text);
const wish: RouteWish = {
  network: prefix("10.5.0.0/16"),
  subnet: prefix("10.5.3.0/24"),
  others: [prefix("10.5.4.0/24")],
  isComplete: true,
};

function route(destination: string, target: string | undefined, rest: Partial<CloudRoute> = {}): CloudRoute {
  const to = prefix(destination);
  return {
    ...{ table: "t", destination: to, state: "active", id: destination, isManaged: true },
    ...(target !== undefined && { target }),
    ...rest,
  };
}

const idsOf = (routes: readonly CloudRoute[]) => routes.map(({ id }) => id);

describe("planRoutes", () => {
  it.each<[string, readonly CloudRoute[], Partial<Record<"isInPlace" | "wrong" | "remove" | "foreign", unknown>>]>([
    ["an empty table", [], { isInPlace: false, wrong: undefined }],
    ["ours", [route("10.5.3.0/24", "me")], { isInPlace: true, wrong: undefined }],
    [
      "ours as a black hole",
      [route("10.5.3.0/24", "me", { state: "blackhole" })],
      { isInPlace: false, wrong: "10.5.3.0/24" },
    ],
    ["one that leads elsewhere", [route("10.5.3.0/24", "other")], { isInPlace: false, wrong: "10.5.3.0/24" }],
    [
      "one of the provider's that leads elsewhere",
      [route("10.5.3.0/24", "other", { isManaged: false })],
      { foreign: ["10.5.3.0/24"], wrong: undefined },
    ],
    [
      "a black hole in the network",
      [route("10.5.9.0/24", undefined, { state: "blackhole" })],
      { remove: ["10.5.9.0/24"] },
    ],
    [
      "a black hole of the provider",
      [route("10.5.9.0/24", undefined, { state: "blackhole", isManaged: false })],
      { remove: [] },
    ],
    ["a black hole outside", [route("10.6.9.0/24", undefined, { state: "blackhole" })], { remove: [] }],
    [
      "a black hole that is larger than the network",
      [route("10.0.0.0/8", undefined, { state: "blackhole" })],
      { remove: [] },
    ],
    ["a subnet that we had before", [route("10.5.8.0/24", "me")], { remove: ["10.5.8.0/24"] }],
    ["what another lease has, led to us", [route("10.5.4.0/24", "me")], { remove: [] }],
    ["a larger route to us, by hand", [route("10.5.0.0/16", "me"), route("0.0.0.0/0", "me")], { remove: [] }],
    ["another host's", [route("10.5.4.0/24", "other")], { remove: [], foreign: [] }],
    ["a part of ours led elsewhere", [route("10.5.3.128/25", "other")], { foreign: ["10.5.3.128/25"], remove: [] }],
    [
      "a part of ours as a black hole",
      [route("10.5.3.128/25", "gone", { state: "blackhole" })],
      { foreign: [], remove: ["10.5.3.128/25"] },
    ],
    [
      "two at our place",
      [route("10.5.3.0/24", "other", { id: "a" }), route("10.5.3.0/24", "me", { id: "b" })],
      { isInPlace: true, remove: ["a"] },
    ],
  ])("%s", (_, routes, expected) => {
    const changes = planRoutes(routes, "me", wish);
    const { isInPlace, wrong, remove, foreign } = changes;
    expect({ isInPlace, wrong: wrong?.id, remove: idsOf(remove), foreign: idsOf(foreign) }).toMatchObject(expected);
  });

  it("keeps routes to this host while more leases may exist than are known", () => {
    const earlier = route("10.5.8.0/24", "me");
    expect(planRoutes([earlier], "me", { ...wish, isComplete: false }).remove).toEqual([]);
  });

  it("touches nothing outside of the network or unmanaged, and leaves nothing to do", () => {
    const anyPrefix = fc
      .tuple(
        fc.constantFrom("10.5.3.0", "10.5.3.128", "10.5.4.0", "10.5.9.0", "10.5.0.0", "10.6.0.0", "0.0.0.0"),
        fc.constantFrom(0, 8, 16, 24, 25),
      )
      .filter(([address, length]) => {
        const bits = address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
        return bits % 2 ** (32 - length) === 0;
      })
      .map(([address, length]) => prefix(`${address}/${length}`));
    const anyRoute = fc
      .record({
        destination: anyPrefix,
        target: fc.constantFrom("me", "other", "third"),
        state: fc.constantFrom<CloudRoute["state"][]>("active", "pending", "blackhole"),
        isManaged: fc.boolean(),
      })
      .map((given): CloudRoute => ({ table: "t", id: "", ...given }));
    const check = (given: readonly CloudRoute[]) => {
      const routes = given.map((each, index) => ({ ...each, id: String(index) }));
      const { isInPlace, wrong, remove } = planRoutes(routes, "me", wish);
      const touched = [...remove, ...(wrong === undefined ? [] : [wrong])];
      for (const { destination, isManaged } of touched) {
        if (!isManaged || !/^10\.5\./.test(destination) || /\/(0|8)$/.test(destination)) throw new Error(destination);
      }
      const gone = new Set(touched.map(({ id }) => id));
      const left: CloudRoute[] = routes.filter(({ id }) => !gone.has(id));
      if (!isInPlace) left.push(route("10.5.3.0/24", "me", { id: "new" }));
      const again = planRoutes(left, "me", wish);
      if (!again.isInPlace || again.remove.length > 0 || again.wrong !== undefined) throw new Error("it does not end");
    };
    fc.assert(fc.property(fc.array(anyRoute, { maxLength: 6 }), check), propertyRuns(20_000));
  });
});
