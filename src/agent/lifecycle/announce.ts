// Publishes in the lease what this host is now, should it differ from what the lease says.
import { describeError } from "../../errors.ts";
import { withLostFamily } from "../../lease/lease-owner.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { LeaseRenewer } from "./lease-renewer.ts";
import type { Network } from "./network.ts";

export function announce(network: Network, renewer: LeaseRenewer, logger: Logger): void {
  try {
    renewer.setAttributes(withLostFamily(network.attributes(), renewer.lease));
  } catch (error) {
    const message = "this host's address does not fit the network configuration: keeping the lease unchanged";
    logger.error("lease.not-announced", message, { error: describeError(error) });
  }
}
