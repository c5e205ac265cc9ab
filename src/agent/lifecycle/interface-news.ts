// What is said in the log about the external interface: at its choice, and when it changed.
import type { Logger } from "../../telemetry/logger.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { FollowedInterface } from "../../underlay/follow-interface.ts";
import type { ServedInterface } from "../../underlay/select-interface.ts";

export function logChosen(logger: Logger, { interface: external, warnings, ipv6Reason }: ServedInterface): void {
  for (const warning of warnings) logger.warn("interface.odd", warning);
  const { name, mtuBytes, address, ipv6Address, publicIp, publicIpv6 } = external;
  const facts = { interface: name, mtuBytes, address, ipv6Address, publicIp, publicIpv6 };
  logger.info("interface.chosen", `using interface ${name} to reach the peers`, facts);
  if (ipv6Reason === undefined) return;
  const message = "the network uses IPv6, which this host cannot serve: serving IPv4 alone until it can";
  logger.warn("interface.no-ipv6", message, { reason: ipv6Reason });
}

export function logIpv6Arrival(logger: Logger): void {
  logger.info("interface.ipv6-arrived", "this host can serve IPv6 now: restarting with both address families");
}

export function logInterface(logger: Logger, followed: FollowedInterface, previous: ExternalInterface): void {
  const { name, mtuBytes, address, ipv6Address } = followed.interface;
  const facts = { interface: name, mtuBytes, address, ipv6Address, problem: followed.reason ?? followed.ipv6Reason };
  const became = name === previous.name ? "changed" : `is in use instead of ${previous.name}`;
  logger.warn("interface.changed", `interface ${name} ${became}`, facts);
}

/** Whether connections from the previous address are dead. */
export function isMoved(now: ExternalInterface, previous: ExternalInterface): boolean {
  return now.address !== previous.address || now.ipv6Address !== previous.ipv6Address;
}
