// Prepares a host for upstream's flanneld, which is to be started after this agent has stopped.
import { FlannelError } from "../../errors.ts";
import type { Network } from "./network.ts";

export interface HandedOver {
  readonly rewrittenRoutes: number;
  /** Devices that go when this process ends. */
  readonly releasedDevices: readonly string[];
}

/** Throws while it cannot be done as a whole: a half of it would cost packets once upstream runs. */
export async function handOver(network: Network): Promise<HandedOver> {
  const { handoverObstacle, runsDataPlane } = network.backend;
  if (handoverObstacle !== undefined) throw new FlannelError("CONFIG_INVALID", `cannot hand over: ${handoverObstacle}`);
  const releasedDevices = await network.releaseDevices();
  if (releasedDevices === undefined && runsDataPlane) {
    const message = "cannot hand over: the data plane is not running yet; repeat the command when the agent is ready";
    throw new FlannelError("KERNEL_BUSY", message, { retryable: true });
  }
  const { rewrittenRoutes } = await network.reconciler.handover();
  return { rewrittenRoutes, releasedDevices: releasedDevices ?? [] };
}
