// Tells the log how we came by a lease, and what that means for the containers on this host.
import type { OwnLease } from "../../lease/lease.ts";
import type { AcquireOutcome } from "../../store/subnet-store.ts";
import type { Logger } from "../../telemetry/logger.ts";

const outcomeText: Record<AcquireOutcome, string> = {
  reused: "took up our lease again:",
  previous: "leased the subnet of subnet.env again:",
  remembered: "recognised our own lease:",
  allocated: "leased",
};

/** `before`: the lease we held until now, or remembered. */
export function tellAcquired(
  logger: Logger,
  { lease, outcome }: { readonly lease: OwnLease; readonly outcome: AcquireOutcome },
  before: OwnLease | undefined,
): void {
  const subnets = [lease.subnet, lease.ipv6Subnet].filter((subnet) => subnet !== undefined).join(" and ");
  logger.info("lease.acquired", `${outcomeText[outcome]} ${subnets}`, { key: lease.key, outcome });
  if (before === undefined || before.key === lease.key) return;
  const message = "our subnet changed: containers with addresses of the old one must be re-created";
  logger.warn("lease.changed", message, { before: before.key, after: lease.key });
}
