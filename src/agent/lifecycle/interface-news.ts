// What is said in the log about the external interface when it changed.
import type { Logger } from "../../telemetry/logger.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { FollowedInterface } from "../../underlay/follow-interface.ts";

export function tellInterface(logger: Logger, followed: FollowedInterface, previous: ExternalInterface): void {
  const { name, mtuBytes, address, ipv6Address } = followed.interface;
  const facts = { interface: name, mtuBytes, address, ipv6Address, problem: followed.reason ?? followed.ipv6Reason };
  const became = name === previous.name ? "changed" : `is in use instead of ${previous.name}`;
  logger.warn("interface.changed", `interface ${name} ${became}`, facts);
}

/** Whether connections from the previous address are dead. */
export function isMoved(now: ExternalInterface, previous: ExternalInterface): boolean {
  return now.address !== previous.address || now.ipv6Address !== previous.ipv6Address;
}
