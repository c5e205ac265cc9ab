// One look at one route table of a cloud: reads it, removes what lost hosts left, leads this host's subnet to it.
import { describeError, type FlannelError, hasCode } from "../errors.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { CloudRoute, CloudRoutes } from "./cloud-routes.ts";
import { planRoutes, type RouteChanges, type RouteWish } from "./plan-routes.ts";

export interface TableState {
  readonly table: string;
  /** Whether the table was seen to lead packets to this host. */
  readonly isInPlace: boolean;
  /** The provider accepted the route and does not list it yet. */
  readonly isAccepted: boolean;
  /** Why packets may not arrive by this table. */
  readonly problem?: string;
  /** What failed at this look, though packets arrive for all that is known. */
  readonly trouble?: string;
  readonly routeCount: number;
  /** Told by the provider, or learned when it refused one more. */
  readonly quota?: number;
  /** When it was learned, by `performance.now()`; missing where the provider tells it. */
  readonly quotaLearnedAtMs?: number;
  /** The route was in place before, was not at this look, and was set again. */
  readonly wasRepaired: boolean;
  /** When the provider accepted the route, by `performance.now()`; missing once it was listed. */
  readonly acceptedAtMs?: number;
}

export interface TableTask {
  readonly cloud: CloudRoutes;
  readonly logger: Logger;
  readonly table: string;
  /** This host as a next hop. */
  readonly target: string;
  readonly wish: RouteWish;
  /** What the last look found. */
  readonly before: TableState | undefined;
}

/** Providers list what they accepted within seconds; after this time it counts as lost and is set again. */
const LISTED_WITHIN_MS = 30_000;

/** A quota that was learned may have been raised since. */
const ASK_FULL_AGAIN_MS = 300_000;

/** Rejects only when cancelled. */
export async function reconcileTable(task: TableTask, signal: AbortSignal): Promise<TableState> {
  const { cloud, table, before } = task;
  try {
    const listed = await cloud.list(table, signal);
    const changes = planRoutes(listed.routes, task.target, task.wish);
    const leftovers = await removeLeftovers(task, changes.remove, signal);
    const routeCount = listed.routeCount - leftovers.removed;
    const found = { ...listed, ...learnedQuota(before, routeCount), routeCount };
    const state = await lead(task, found, changes, signal);
    const problems = [state.problem, ...changes.foreign.map(describeForeign)].filter((text) => text !== undefined);
    return {
      ...state,
      ...(problems.length > 0 && { problem: problems.slice(0, 3).join("; ") }),
      ...(leftovers.trouble !== undefined && { trouble: leftovers.trouble }),
    };
  } catch (error) {
    if (hasCode(error, "CANCELLED")) throw error;
    return afterFailure(task, describeError(error));
  }
}

/** Nothing where the table proves that it takes more by now. */
function learnedQuota(
  before: TableState | undefined,
  routeCount: number,
): Pick<TableState, "quota" | "quotaLearnedAtMs"> {
  const { quota, quotaLearnedAtMs } = before ?? {};
  if (quota === undefined || quotaLearnedAtMs === undefined || routeCount > quota) return {};
  return performance.now() - quotaLearnedAtMs < ASK_FULL_AGAIN_MS ? { quota, quotaLearnedAtMs } : {};
}

/** A table that cannot be read is no table that leads nowhere: what was in place stays so for all that is known. */
function afterFailure({ table, before }: TableTask, trouble: string): TableState {
  if (before?.isInPlace === true) {
    const { problem, ...known } = before;
    return { ...known, wasRepaired: false, trouble, ...(problem !== undefined && { problem }) };
  }
  const { routeCount = 0, quota, quotaLearnedAtMs, acceptedAtMs } = before ?? {};
  return {
    ...{ table, routeCount, isInPlace: false, isAccepted: false, wasRepaired: false, problem: trouble },
    ...(quota !== undefined && { quota }),
    ...(quotaLearnedAtMs !== undefined && { quotaLearnedAtMs }),
    ...(acceptedAtMs !== undefined && { acceptedAtMs }),
  };
}

/** First, so that they make room. What cannot be removed keeps nothing else from being done. */
async function removeLeftovers(
  { cloud, logger }: TableTask,
  routes: readonly CloudRoute[],
  signal: AbortSignal,
): Promise<{ readonly removed: number; readonly trouble?: string }> {
  let removed = 0;
  let trouble: string | undefined;
  for (const route of routes) {
    try {
      await cloud.remove(route, signal);
      removed++;
      const { table, destination, state } = route;
      logger.info(
        "cloud.route-removed",
        "removed a route of a host that is gone, or of an earlier subnet of this host",
        { table, destination, state },
      );
    } catch (error) {
      if (hasCode(error, "CANCELLED")) throw error;
      trouble ??= describeError(error);
    }
  }
  return { removed, ...(trouble !== undefined && { trouble }) };
}

/** Sets this host's route where it is missing or wrong. */
async function lead(
  task: TableTask,
  listed: Pick<TableState, "routeCount" | "quota" | "quotaLearnedAtMs">,
  changes: RouteChanges,
  signal: AbortSignal,
): Promise<TableState> {
  const { cloud, table, target, before, wish } = task;
  const { routeCount, quota, quotaLearnedAtMs } = listed;
  const known = {
    ...{ table, routeCount },
    ...(quota !== undefined && { quota }),
    ...(quotaLearnedAtMs !== undefined && { quotaLearnedAtMs }),
  };
  if (changes.isInPlace) return { ...known, isInPlace: true, isAccepted: false, wasRepaired: false };
  const now = performance.now();
  const acceptedAtMs = before?.acceptedAtMs;
  if (acceptedAtMs !== undefined && now - acceptedAtMs < LISTED_WITHIN_MS)
    return accepted(known, acceptedAtMs, task, false);
  const missing = { ...known, isInPlace: false, isAccepted: false, wasRepaired: false };
  // One more would only be refused.
  if (changes.wrong === undefined && quota !== undefined && routeCount >= quota) {
    return { ...missing, problem: describeFull(task, routeCount) };
  }
  try {
    await cloud.set({ table, destination: wish.subnet, target }, changes.wrong, signal);
  } catch (error) {
    if (hasCode(error, "CANCELLED")) throw error;
    // It was seen not to be in place, whatever the last look found.
    if (!hasCode(error, "CLOUD_QUOTA")) return { ...missing, problem: describeError(error) };
    return {
      ...missing,
      ...{ quota: routeCount, quotaLearnedAtMs: now },
      problem: `${describeFull(task, routeCount)} (${describeError(error satisfies FlannelError)})`,
    };
  }
  const wasInPlace = before?.isInPlace === true;
  logSet(task, changes.wrong, wasInPlace);
  return accepted(known, now, task, wasInPlace);
}

function logSet({ logger, table, target, wish }: TableTask, wrong: RouteChanges["wrong"], wasInPlace: boolean): void {
  const facts = { table, destination: wish.subnet, nextHop: target };
  if (!wasInPlace) {
    logger.info("cloud.route-set", "the cloud leads this host's subnet to it", facts);
    return;
  }
  const found = wrong?.target ?? (wrong === undefined ? "no route" : wrong.state);
  logger.warn("cloud.repaired", "another program changed this host's route in the cloud; it is set again", {
    ...facts,
    found,
  });
}

function accepted(
  known: Pick<TableState, "table" | "routeCount" | "quota" | "quotaLearnedAtMs">,
  acceptedAtMs: number,
  { table, wish }: TableTask,
  wasRepaired: boolean,
): TableState {
  const problem = `the provider accepted the route ${wish.subnet} in the route table ${table} and does not list it yet`;
  return { ...known, isInPlace: false, isAccepted: true, wasRepaired, acceptedAtMs, problem };
}

function describeFull({ table, wish }: TableTask, routeCount: number): string {
  return (
    `the route table ${table} is full with ${routeCount} routes and has none for this host's subnet ${wish.subnet}: ` +
    "remove routes that nobody needs, or ask the provider for a larger quota"
  );
}

function describeForeign({ destination, table, target, id }: CloudRoute): string {
  const where = target === undefined ? "elsewhere" : `to ${target}`;
  const name = id === destination ? destination : `${id} (${destination})`;
  return `the route ${name} in the route table ${table} leads packets of this host's subnet ${where}: remove it`;
}
