// Tells the log how we came by a lease, and what that means for the containers on this host.
import type { OwnLease } from "../../lease/lease.ts";
import type { AcquireOutcome } from "../../store/subnet-store.ts";
import type { Logger } from "../../telemetry/logger.ts";

const outcomeText: Record<AcquireOutcome, string> = {
  reused: "reused this host's lease:",
  previous: "leased the subnet of subnet.env:",
  remembered: "reused the remembered lease:",
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
  const message = "the subnet of this host changed: re-create containers with addresses of the old one";
  logger.warn("lease.changed", message, { before: before.key, after: lease.key });
}
