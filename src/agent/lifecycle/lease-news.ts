// Tells the log how we came by a lease, and what that means for the containers on this host.
import { type LeasedSubnets, type OwnLease, prefixesOf } from "../../lease/lease.ts";
import { hasSameSubnets } from "../../lease/lease-owner.ts";
import type { AcquireOutcome } from "../../store/subnet-store.ts";
import type { Logger } from "../../telemetry/logger.ts";

const outcomeText: Record<AcquireOutcome, string> = {
  reused: "reused this host's lease:",
  previous: "leased the subnet of subnet.env:",
  remembered: "reused the remembered lease:",
  allocated: "leased",
};

/** `before`: the lease we held until now, or remembered. */
export function logAcquired(
  logger: Logger,
  { lease, outcome }: { readonly lease: OwnLease; readonly outcome: AcquireOutcome },
  before: OwnLease | undefined,
): void {
  const subnets = subnetsText(lease);
  logger.info("lease.acquired", `${outcomeText[outcome]} ${subnets}`, { key: lease.key, outcome });
  if (before === undefined || hasSameSubnets(before, lease)) return;
  const message = "the subnet of this host changed: re-create containers with addresses of the old one";
  logger.warn("lease.changed", message, { before: subnetsText(before), after: subnets });
}

function subnetsText(subnets: LeasedSubnets): string {
  return prefixesOf(subnets).join(" and ");
}
