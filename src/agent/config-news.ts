// What the log says about the network configuration.
import type { NetworkConfig } from "../config/network-config.ts";
import type { Logger } from "../telemetry/logger.ts";

export function tellConfigRead(logger: Logger, { backendType, ipv4, ipv6 }: NetworkConfig): void {
  const networks = { network: ipv4?.network, ipv6Network: ipv6?.network };
  logger.info("config.read", `network configuration read: backend ${backendType}`, networks);
}

export function tellRestartNeeded(logger: Logger, keys: readonly string[]): void {
  const message = `restart needed: ${keys.join(", ")} changed, which a running agent cannot apply`;
  logger.warn("config.restart-needed", message, { keys });
}
