// A look comes by itself, without a request or a notification: providers send none.
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { parsePrefix } from "../ip/address.ts";
import { silentLogger } from "../telemetry/logger.ts";
import type { CloudRoute, CloudRoutes } from "./cloud-routes.ts";
import { RouteReconciler } from "./route-reconciler.ts";

test("what others delete or point elsewhere is right again at the next look", async () => {
  const subnet = parsePrefix("10.5.3.0/24");
  const routeTo = (target: string): CloudRoute => ({
    ...{ table: "t", destination: subnet, target, state: "active", id: "10.5.3.0/24", isManaged: true },
  });
  let routes: CloudRoute[] = [];
  const cloud: CloudRoutes = {
    facts: () => Promise.resolve({ instance: "i-1", target: "me", tables: ["t"] }),
    list: () => Promise.resolve({ table: "t", routes, routeCount: routes.length }),
    set: ({ target }) => {
      routes = [routeTo(target)];
      return Promise.resolve();
    },
    remove: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  await using reconciler = new RouteReconciler({
    cloud,
    logger: silentLogger,
    onChange: () => undefined,
    intervalMs: 20,
  });
  reconciler.setWish({ network: parsePrefix("10.5.0.0/16"), subnet, others: [], isComplete: true });
  const isRight = () => routes.length === 1 && routes[0]?.target === "me" && reconciler.problem === undefined;
  await until(isRight, { what: "the route" });
  const { done } = reconciler.looks;
  routes = [];
  await until(isRight, { what: "the deleted route" });
  routes = [routeTo("another")];
  await until(isRight, { what: "the route that led elsewhere" });
  expect(reconciler.repairs).toBe(2);
  expect(reconciler.looks.done).toBeGreaterThan(done);
});
