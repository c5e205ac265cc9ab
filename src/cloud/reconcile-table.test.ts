// When a full table is asked for a route again: where the quota is known, and where it was learned by a refusal.
import { expect, it, vi } from "vitest";
import { FlannelError } from "../errors.ts";
import { parsePrefix } from "../ip/address.ts";
import { silentLogger } from "../telemetry/logger.ts";
import type { CloudRoutes, CloudTable } from "./cloud-routes.ts";
import { reconcileTable, type TableState } from "./reconcile-table.ts";

const { signal } = new AbortController();
const wish = {
  ...{ network: parsePrefix("10.5.0.0/16"), subnet: parsePrefix("10.5.3.0/24") },
  ...{ others: [], isComplete: true },
};

/** A table that takes so many routes; `told` is what the provider says of that. */
function tableOf(routeCount: number, told: { readonly quota?: number }) {
  const state = { routeCount, room: 0, asked: 0 };
  const cloud: CloudRoutes = {
    facts: () => Promise.reject(new Error("is not asked")),
    list: () => Promise.resolve<CloudTable>({ ...told, table: "t", routes: [], routeCount: state.routeCount }),
    set: () => {
      state.asked++;
      const full = new FlannelError("CLOUD_QUOTA", "no room");
      return state.room > 0 ? Promise.resolve() : Promise.reject(full);
    },
    remove: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const look = (before: TableState | undefined) =>
    reconcileTable({ cloud, logger: silentLogger, table: "t", target: "me", wish, before }, signal);
  return { state, look };
}

it("does not ask where the provider tells that there is no room", async () => {
  const { state, look } = tableOf(100, { quota: 100 });
  expect((await look(undefined)).problem).toContain("is full with 100 routes");
  expect(state.asked).toBe(0);
});

it("asks again after five minutes where it learned the quota: it may have been raised", async () => {
  using clock = vi.spyOn(performance, "now").mockReturnValue(0);
  const { state, look } = tableOf(100, {});
  let known = await look(undefined);
  expect(known).toMatchObject({ quota: 100, isInPlace: false });
  for (const now of [1_000, 299_000]) {
    clock.mockReturnValue(now);
    known = await look(known);
    expect(known.problem).toContain("is full with 100 routes");
  }
  expect(state.asked).toBe(1);
  clock.mockReturnValue(300_000);
  known = await look(known);
  expect({ asked: state.asked, quota: known.quota }).toEqual({ asked: 2, quota: 100 });
  state.room = 1;
  clock.mockReturnValue(600_000);
  known = await look(known);
  expect({ asked: state.asked, isAccepted: known.isAccepted, quota: known.quota }).toEqual({
    ...{ asked: 3, isAccepted: true },
    quota: undefined,
  });
});

it("asks at once where the table has more routes than it was learned to take", async () => {
  const { state, look } = tableOf(50, {});
  const known = await look(undefined);
  expect(known.quota).toBe(50);
  Object.assign(state, { routeCount: 99, room: 1 });
  expect((await look(known)).isAccepted).toBe(true);
});
