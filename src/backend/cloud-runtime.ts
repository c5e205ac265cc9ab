// The running half of the backends of cloud providers: keeps this host's routes there. The provider's client is loaded
// only when one is started.

import type { CloudRoutes } from "../cloud/cloud-routes.ts";
import { RouteReconciler } from "../cloud/route-reconciler.ts";
import type { MetricsRecorder } from "../telemetry/metrics/metrics.ts";
import type { BackendRuntime, RuntimeServices } from "./backend.ts";
import type { CloudPlan } from "./cloud-backend.ts";

type OpenCloud = (plan: CloudPlan) => Promise<CloudRoutes>;

export function startCloud(services: RuntimeServices, open: OpenCloud): BackendRuntime<CloudPlan> {
  return new CloudRuntime(services, open);
}

class CloudRuntime implements BackendRuntime<CloudPlan> {
  readonly #services: RuntimeServices;
  readonly #open: OpenCloud;
  #reconciler: RouteReconciler | undefined;
  /** What the reconciler was opened with; holds secrets. */
  #opened = "";

  constructor(services: RuntimeServices, open: OpenCloud) {
    this.#services = services;
    this.#open = open;
  }

  /** Returns before the cloud has answered: `problem` says so. */
  async apply(plan: CloudPlan, { isComplete }: { readonly isComplete: boolean }): Promise<void> {
    const { address, access, network, subnet, others } = plan;
    const wanted = JSON.stringify([address, access]);
    if (wanted !== this.#opened) {
      await this.#reconciler?.[Symbol.asyncDispose]();
      const { logger, onChange } = this.#services;
      this.#reconciler = new RouteReconciler({ cloud: await this.#open(plan), logger, onChange });
      this.#opened = wanted;
    }
    this.#reconciler?.setWish({ network, subnet, others, isComplete });
  }

  problem(): string | undefined {
    return this.#reconciler === undefined
      ? "the client of the cloud provider is being loaded"
      : this.#reconciler.problem;
  }

  lookAgain(): void {
    this.#reconciler?.lookNow();
  }

  status() {
    const facts = this.#reconciler?.facts;
    const tables = this.#reconciler?.tables ?? [];
    const trouble = this.#reconciler?.trouble;
    const features = facts && {
      ...(trouble !== undefined && { lastLookFailed: trouble }),
      instance: facts.instance,
      nextHop: facts.target,
      tables:
        tables.map(({ table, routeCount }) => `${table} (${routeCount} routes)`).join(", ") || facts.tables.join(", "),
    };
    return { ...(features !== undefined && { features }), carried: {}, dropped: {}, peers: [] };
  }

  recordMetrics(metrics: MetricsRecorder): void {
    if (this.#reconciler === undefined) return;
    const { looks, repairs, tables } = this.#reconciler;
    for (const [result, count] of Object.entries(looks)) metrics.total("flannel_cloud_looks_total", { result }, count);
    metrics.total("flannel_cloud_repairs_total", {}, repairs);
    const isFull = tables.filter(
      ({ isInPlace, isAccepted, quota, routeCount }) =>
        !isInPlace && !isAccepted && quota !== undefined && routeCount >= quota,
    );
    metrics.set(
      "flannel_cloud_table_routes",
      {},
      tables.length === 0 ? undefined : Math.max(...tables.map(({ routeCount }) => routeCount)),
    );
    metrics.set("flannel_cloud_tables_full", {}, isFull.length);
    metrics.set("flannel_cloud_tables_in_place", {}, tables.filter(({ isInPlace }) => isInPlace).length);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reconciler?.[Symbol.asyncDispose]();
  }
}
