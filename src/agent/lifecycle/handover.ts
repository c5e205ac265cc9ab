// Prepares a host for upstream's flanneld, which is to be started after this agent has stopped.
import { describeError, FlannelError } from "../../errors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { Network } from "./network.ts";

export interface HandedOver {
  readonly rewrittenRoutes: number;
  /** Devices that go when this process ends. */
  readonly releasedDevices: readonly string[];
}

type Handed = Pick<Network, "backend" | "reconciler" | "isOwnProgrammed"> & {
  readonly runtime: Pick<Network["runtime"], "handOver">;
};

/** Throws while it cannot be done as a whole: a half of it would cost packets once upstream runs. */
async function handOver(network: Handed): Promise<HandedOver> {
  const { handoverObstacle, runsDataPlane } = network.backend;
  if (handoverObstacle !== undefined) throw new FlannelError("CONFIG_INVALID", `cannot hand over: ${handoverObstacle}`);
  const releasedDevices = await network.runtime.handOver();
  if (releasedDevices === undefined && runsDataPlane) {
    const message = "cannot hand over: the data plane is not running yet; repeat the command when the agent is ready";
    throw new FlannelError("KERNEL_BUSY", message, { retryable: true });
  }
  const { rewrittenRoutes } = await network.reconciler.handover();
  return { rewrittenRoutes, releasedDevices: releasedDevices ?? [] };
}

/** Once a person asked for it, every network that is opened later is handed over, too, as after a change of the configuration. */
export class KeptHandover {
  /** The last network that is settled: handed over, or refused for good. Undefined: nobody asked. */
  #settled: Handed | undefined;
  #trying: Handed | undefined;
  /** The network whose failure is reported. */
  #logged: Handed | undefined;

  get isBegun(): boolean {
    return this.#settled !== undefined;
  }

  /** As `handOver`. */
  async begin(network: Handed): Promise<HandedOver> {
    const done = await handOver(network);
    this.#settled = network;
    return done;
  }

  /** To be called now and then: what may still succeed is tried again. */
  keep(network: Handed | undefined, logger: Logger): void {
    if (this.#settled === undefined || network === undefined || network === this.#settled) return;
    if (!network.isOwnProgrammed || this.#trying !== undefined) return;
    this.#trying = network;
    handOver(network)
      .then(
        () => {
          this.#settled = network;
          if (this.#logged === network)
            logger.info("handover.again", "this host is prepared for upstream's flanneld again");
        },
        (error: unknown) => this.#failed(network, error, logger),
      )
      .finally(() => {
        this.#trying = undefined;
      });
  }

  #failed(network: Handed, error: unknown, logger: Logger): void {
    const isRetried = error instanceof FlannelError && error.retryable;
    if (!isRetried) this.#settled = network;
    if (this.#logged === network) return;
    this.#logged = network;
    const message = `this host is no longer prepared for upstream's flanneld${isRetried ? "; retrying" : ""}`;
    logger.error("handover.undone", message, { error: describeError(error) });
  }
}
